"""The few calls of Keystone's and Barbican's API that an operator needs, with Python's own library."""
import json
import ssl
import time
import urllib.error
import urllib.request

from site_files import fail

MAX_BYTES = 4 << 20
TIMEOUT_S = 60
DOMAIN = {"id": "default"}


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token goes where "init" was told, and nowhere else."""

    def redirect_request(self, *_):
        return None


def opener(site):
    """Trusts the authority of this installation only, and uses no proxy: both services are on the nodes."""
    https = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=site.ca))
    return urllib.request.build_opener(https, NoRedirect, urllib.request.ProxyHandler({}))


class Api:
    """Both services, with the token of one user."""

    def __init__(self, site, user="admin", password=None, project="admin"):
        self.urls = site.urls
        self.opener = opener(site)
        self.token = None
        login = {"user": {"name": user, "domain": DOMAIN, "password": password or site.secret("admin")}}
        headers, body = self.call("POST", self.urls["keystone"] + "/v3/auth/tokens", {"auth": {
            "identity": {"methods": ["password"], "password": login},
            "scope": {"project": {"name": project, "domain": DOMAIN}}}})
        self.token = headers["X-Subject-Token"]
        self.user = body["token"]["user"]["id"]

    def call(self, method, url, body=None):
        """@returns headers and parsed body. Ends the program where the answer is an error."""
        request = urllib.request.Request(url, method=method, headers={"Content-Type": "application/json"},
                                         data=None if body is None else json.dumps(body).encode())
        if self.token:
            request.add_header("X-Auth-Token", self.token)
        try:
            with self.opener.open(request, timeout=TIMEOUT_S) as answer:
                raw = answer.read(MAX_BYTES)
                return answer.headers, json.loads(raw) if raw else None
        except urllib.error.HTTPError as error:
            text = error.read(500).decode("utf-8", "replace")
            fail("%s %s: the answer is %d: %s" % (method, url, error.code, "".join(filter(str.isprintable, text))))
        except (OSError, ValueError) as error:
            fail("%s %s: %s" % (method, url, getattr(error, "reason", error)))

    def keystone(self, method, path, body=None):
        return self.call(method, self.urls["keystone"] + "/v3/" + path, body)[1]

    def barbican(self, method, path, body=None):
        return self.call(method, self.urls["barbican"] + "/v1/" + path, body)[1]

    def ensure(self, kind, name, **attributes):
        """The id of a project, user, role or service of that name, which is made where it is missing."""
        found = [one for one in self.keystone("GET", "%ss?name=%s" % (kind, name))[kind + "s"] if one["name"] == name]
        if found:
            return found[0]["id"]
        return self.keystone("POST", kind + "s", {kind: dict(attributes, name=name)})[kind]["id"]

    def grant(self, project, user, role):
        self.keystone("PUT", "projects/%s/users/%s/roles/%s" % (project, user, role))

    def ensure_endpoint(self, service, interface, url):
        """The catalog has this URL for it."""
        path = "endpoints?service_id=%s&interface=%s" % (service, interface)
        found = self.keystone("GET", path)["endpoints"]
        endpoint = {"service_id": service, "interface": interface, "url": url}
        if not found:
            self.keystone("POST", "endpoints", {"endpoint": dict(endpoint, region_id="RegionOne")})
        elif found[0]["url"] != url:
            self.keystone("PATCH", "endpoints/" + found[0]["id"], {"endpoint": endpoint})


def works(site, user, password, project):
    """Whether the user can log in with the password."""
    try:
        Api(site, user, password, project)
        return True
    except SystemExit:
        return False


def wait_for_keystone(site, seconds):
    """Returns once Keystone answers; ends the program where it does not."""
    client = opener(site)
    until = time.monotonic() + seconds
    while True:
        try:
            with client.open(site.urls["keystone"] + "/v3", timeout=5):
                return
        except (OSError, ValueError) as error:
            if time.monotonic() > until:
                fail("Keystone does not answer at %s: %s" % (site.urls["keystone"], error))
            time.sleep(0.2)
