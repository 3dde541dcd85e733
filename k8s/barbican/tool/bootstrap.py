"""The tables, and what Keystone must know before anybody can use Barbican. Each step may be done again."""
import os
import pathlib
import subprocess
import sys

from keystone import Api, wait_for_keystone, works
from site_files import fail

PROGRAMS = pathlib.Path(sys.executable).parent
REGION = "RegionOne"
START_S = 300
PROGRAM_S = 600


def run(site, program, *arguments, more=None, expected=None, stdin=""):
    """A program of Keystone or Barbican, with this installation's configuration. Ends this one where it fails, except with
    the text that is expected. @returns its output"""
    environment = dict(os.environ, **site.environment(), **(more or {}))
    try:
        done = subprocess.run([PROGRAMS / program, *arguments], env=environment, input=stdin, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=PROGRAM_S)
    except subprocess.TimeoutExpired:
        fail("%s did not end within %d s: is MariaDB running? Look at %s" % (program, PROGRAM_S, site.socket))
    if done.returncode != 0 and (expected is None or expected not in done.stdout):
        end = "\n".join(done.stdout.strip().split("\n")[-15:])
        fail("%s %s ended with %d:\n%s" % (program, arguments[0] if arguments else "", done.returncode, end))
    return done.stdout


def keystone_manage(site, *arguments, more=None):
    files = site.environment()["OS_KEYSTONE_CONFIG_FILES"].split(";")
    return run(site, "keystone-manage", *("--config-file=" + file for file in files), *arguments, more=more)


def database(site, options):
    """Makes or upgrades the tables, the Fernet keys, and the keys in the token. Once, on one node, and after an upgrade."""
    name = owner_of(site.state)
    for setup in "fernet_setup", "credential_setup":
        keystone_manage(site, setup, "--keystone-user", name[0], "--keystone-group", name[1])
    keystone_manage(site, "db_sync")
    # Not in the arguments, which every process of the node can read.
    keystone_manage(site, "bootstrap", more={
        "OS_BOOTSTRAP_PASSWORD": site.secret("admin"), "OS_BOOTSTRAP_REGION_ID": REGION,
        **{"OS_BOOTSTRAP_%s_URL" % which: site.urls["keystone"] + "/v3/" for which in ("PUBLIC", "INTERNAL")}})
    run(site, "barbican-manage", "db", "upgrade")
    if site.p11_file.exists():
        make_token_keys(site)


def make_token_keys(site):
    """Makes the master keys that p11.conf names where the token does not have them."""
    for kind in "mkek", "hmac":
        label = setting(site.p11_file, kind + "_label")
        missing = "Label %s is not set" % label
        if missing in run(site, "barbican-manage", "hsm", "check_" + kind, "--label", label, expected=missing):
            run(site, "barbican-manage", "hsm", "gen_" + kind, "--label", label)


def setting(file, name):
    for line in file.read_text().splitlines():
        key, _, value = line.partition(" = ")
        if key == name:
            return value
    return fail("%s has no %s" % (file, name))


def owner_of(path):
    import grp
    import pwd
    found = path.stat()
    return pwd.getpwuid(found.st_uid).pw_name, grp.getgrgid(found.st_gid).gr_name


def services(site, options):
    """Barbican's own user, its role, and the catalog. Waits for Keystone."""
    wait_for_keystone(site, START_S)
    api = Api(site)
    project = api.ensure("project", "service", domain_id="default")
    password = site.secret("barbican")
    user = api.ensure("user", "barbican", domain_id="default", password=password)
    # With this role it may ask whether a token is good, and nothing else.
    api.grant(project, user, api.ensure("role", "service"))
    if not works(site, "barbican", password, "service"):
        api.keystone("PATCH", "users/" + user, {"user": {"password": password}})
    for name, kind, path in ("keystone", "identity", "/v3/"), ("barbican", "key-manager", ""):
        service = api.ensure("service", name, type=kind)
        for interface in "public", "internal":
            api.ensure_endpoint(service, interface, site.urls[name] + path)


def fernet_rotate(site, options):
    """Copy the key repository to the other nodes afterwards. They know the new primary already: it was the staged key."""
    name = owner_of(site.state)
    keystone_manage(site, "fernet_rotate", "--keystone-user", name[0], "--keystone-group", name[1])
