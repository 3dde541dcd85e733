#!/usr/bin/python3
"""Creates roles, projects, users, the catalog and an application credential with the v3 API of Keystone.

usage: provision.py KEYSTONE_URL BARBICAN_URL ADMIN_PASSWORD_FILE BARBICAN_PASSWORD_FILE STATE_JSON
Writes STATE_JSON (passwords, ids, application credential). Uses the standard library only.
"""
import json
import os
import sys
import urllib.error
import urllib.request

ks, bb, admin_pw_file, barbican_pw_file, state_path = sys.argv[1:6]
admin_pw = open(admin_pw_file).read().strip()
barbican_pw = open(barbican_pw_file).read().strip()
state = {}


def call(method, path, body=None, token=None, ok=(200, 201, 204)):
    req = urllib.request.Request(
        ks + path, method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"})
    if token:
        req.add_header("X-Auth-Token", token)
    try:
        resp = urllib.request.urlopen(req, timeout=60)
    except urllib.error.HTTPError as e:
        resp = e
    raw = resp.read()
    if resp.status not in ok:
        sys.exit("%s %s -> %s %s" % (method, path, resp.status, raw[:500]))
    return resp.headers, json.loads(raw) if raw else None


def password_token(user, password, project):
    h, b = call("POST", "/v3/auth/tokens", {"auth": {
        "identity": {"methods": ["password"], "password": {"user": {
            "name": user, "domain": {"id": "default"}, "password": password}}},
        "scope": {"project": {"name": project, "domain": {"id": "default"}}}}})
    return h["X-Subject-Token"], b["token"]


tok, _ = password_token("admin", admin_pw, "admin")


def make(kind, name, **attrs):
    _, b = call("POST", "/v3/%ss" % kind, {kind: dict(attrs, name=name)}, token=tok)
    return b[kind]["id"]


def grant(project, user, role):
    call("PUT", "/v3/projects/%s/users/%s/roles/%s" % (project, user, role), token=tok)


pw = {u: os.urandom(18).hex() for u in ("kms", "observer", "audit", "other")}
pw["barbican"] = barbican_pw
role = {n: make("role", n) for n in ("creator", "observer", "audit", "service")}
project = {n: make("project", n, domain_id="default") for n in ("kms", "service", "other")}
user = {u: make("user", u, domain_id="default", password=pw[u]) for u in pw}

# With this role, the user of Barbican may validate tokens.
grant(project["service"], user["barbican"], role["service"])
grant(project["kms"], user["kms"], role["creator"])
grant(project["kms"], user["observer"], role["observer"])
grant(project["kms"], user["audit"], role["audit"])
grant(project["other"], user["other"], role["creator"])

service = make("service", "barbican", type="key-manager")
for interface in ("public", "internal"):
    call("POST", "/v3/endpoints", {"endpoint": {
        "service_id": service, "interface": interface, "region_id": "RegionOne", "url": bb}}, token=tok)

# Only the user itself can create an application credential.
utok, t = password_token("kms", pw["kms"], "kms")
_, b = call("POST", "/v3/users/%s/application_credentials" % user["kms"],
            {"application_credential": {"name": "kms-plugin", "roles": [{"name": "creator"}]}}, token=utok)
state.update(passwords=pw, users=user, roles=role, projects=project,
             application_credential={k: b["application_credential"][k] for k in ("id", "secret")})
fd = os.open(state_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
with os.fdopen(fd, "w") as f:
    json.dump(state, f, indent=1)
