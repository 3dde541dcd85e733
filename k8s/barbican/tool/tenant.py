"""One cluster: its project, quota, user, and application credentials that may do no more than the plugin does."""
import re
import secrets

from keystone import Api
from site_files import fail, write

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?")
ROLE = "member"
# What "serve" asks for: the keys, and the manifest where that is in Barbican too.
NODE = [("GET", "/v1/secrets"), ("GET", "/v1/secrets/*/payload")]
# What "teapot-kms keys" does besides.
OPERATOR = NODE + [("POST", "/v1/secrets"), ("PUT", "/v1/secrets/*"), ("DELETE", "/v1/secrets/*")]
KINDS = {"node": NODE, "operator": OPERATOR}


def tenant(site, options):
    """Makes what is missing of a cluster's access, and prints the instance of its plugin."""
    name = checked(options.name)
    api = Api(site)
    project = api.ensure("project", "teapot-" + name, domain_id="default", description="keys of the cluster " + name)
    password = site.secret("tenants/" + name)
    user = api.ensure("user", "teapot-" + name, domain_id="default", password=password)
    api.grant(project, user, api.ensure("role", ROLE))
    # Nothing but secrets: the plugin uses nothing else.
    quota = {"secrets": options.secrets, "orders": 0, "containers": 0, "consumers": 0, "cas": 0}
    api.barbican("PUT", "project-quotas/" + project, {"project_quotas": quota})
    own = login_of(site, name)
    for kind in KINDS:
        if not conf_file(site, name, kind).exists():
            make_credential(site, own, name, kind)
    print("""- name: %(name)s
  socket: /run/teapot-kms/%(name)s/kms.sock
  keys:
    uri: barbican:%(name)s
    cloudConfig: %(conf)s
    endpoint: %(endpoint)s""" % {"name": name, "conf": conf_file(site, name, "node"), "endpoint": site.urls["barbican"]})


def credential(site, options):
    """Makes a new application credential and writes it to the file, which running plugins read again. With --retire, ends
    all others of its kind: once every plugin has the new one."""
    name = checked(options.name)
    own = login_of(site, name)
    if not options.retire:
        make_credential(site, own, name, options.kind)
        return
    current = re.search(r'(?m)^application-credential-id="(\w+)"$', conf_file(site, name, options.kind).read_text())
    if current is None:
        fail("%s has no application-credential-id" % conf_file(site, name, options.kind))
    for one in credentials(own):
        if one["name"].startswith(options.kind + "-") and one["id"] != current[1]:
            own.keystone("DELETE", "users/%s/application_credentials/%s" % (own.user, one["id"]))


def checked(name):
    if not NAME.fullmatch(name):
        fail("a cluster's name has 1 to 42 of a-z, 0-9 and -, and neither begins nor ends with -")
    return name


def conf_file(site, name, kind):
    return site.etc / "tenants" / name / (kind + ".conf")


def login_of(site, name):
    """Only a user itself can make its application credentials."""
    return Api(site, "teapot-" + name, site.secret("tenants/" + name), "teapot-" + name)


def credentials(own):
    return own.keystone("GET", "users/%s/application_credentials" % own.user)["application_credentials"]


def make_credential(site, own, name, kind):
    rules = [{"service": "key-manager", "method": method, "path": path} for method, path in KINDS[kind]]
    made = own.keystone("POST", "users/%s/application_credentials" % own.user, {"application_credential": {
        "name": "%s-%s" % (kind, secrets.token_hex(8)), "roles": [{"name": ROLE}], "access_rules": rules,
    }})["application_credential"]
    write(conf_file(site, name, kind), """[Global]
auth-url="%s"
application-credential-id="%s"
application-credential-secret="%s"
ca-file="%s"
""" % (site.urls["keystone"], made["id"], made["secret"], site.ca))
