"""Barbican's own master key, which encrypts the key of each project. It changes in steps, each on all nodes before the next;
after each one that changes the configuration, Barbican starts new workers (SIGHUP) and loses no request:

    add      the new key is there, and nothing uses it
    use      new projects' keys are encrypted with it
    rewrap   all projects' keys are encrypted with it, once, on one node
    drop     the old key is gone. Keep it with the backups of the database that are older than "rewrap"

p11_crypto needs no "add" on each node: the token has the new key.
"""
import json
import pathlib
import re

import pymysql
from cryptography import fernet

from bootstrap import make_token_keys, run, setting
from site_files import fail, write, write_keks

LABEL = re.compile(r"(?m)^(mkek|hmac)_label = \1_(\d+)$")


def master_key(site, options):
    STEPS["p11" if site.p11_file.exists() else "simple"][options.step](site)


def keks_of(site):
    return re.findall(r"(?m)^kek = (\S+)$", site.kek_file.read_text())


def add(site):
    keks = keks_of(site)
    if len(keks) > 1:
        fail("%s has two keys already: go on with use, rewrap and drop" % site.kek_file)
    write_keks(site, [*keks, fernet.Fernet.generate_key().decode()])


def use(site):
    keks = keks_of(site)
    if len(keks) != 2:
        fail("%s has no second key: add one first" % site.kek_file)
    write_keks(site, keks[::-1])


def rewrap(site):
    run(site, "barbican-manage", "simple_crypto", "rewrap_pkek")
    check_all(site)


def drop(site):
    check_all(site)
    write_keks(site, keks_of(site)[:1])


def check_all(site):
    """barbican-manage reports success whatever happened. Each project's key must open with the first key alone."""
    first = fernet.Fernet(keks_of(site)[0])
    for project, meta in project_keys(site, "SimpleCryptoPlugin"):
        try:
            first.decrypt(meta.encode())
        except fernet.InvalidToken:
            fail("the key of project %s is not encrypted with the first key of %s: run rewrap" % (project, site.kek_file))


def project_keys(site, plugin):
    """What a crypto plugin has stored of each project's keys, old ones too: secrets may need them."""
    try:
        with pymysql.connect(unix_socket=str(site.socket), user="barbican", password=site.secret("barbican-database"),
                             database="barbican", connect_timeout=10) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT p.external_id, k.plugin_meta FROM kek_data k JOIN projects p ON p.id = k.project_id"
                           " WHERE k.plugin_name LIKE %s", ("%" + plugin,))
            return [(project, meta if isinstance(meta, str) else meta.decode()) for project, meta in cursor.fetchall()]
    except pymysql.MySQLError as error:
        return fail("the database at %s: %s" % (site.socket, error.args[-1]))


def p11_use(site):
    generation = int(setting(site.p11_file, "mkek_label").rpartition("_")[2])
    text = LABEL.sub(lambda label: "%s_label = %s_%d" % (label[1], label[1], generation + 1), site.p11_file.read_text())
    write(site.p11_file, text)
    make_token_keys(site)


def p11_rewrap(site):
    login = {"socket": str(site.socket), "password": site.secret("barbican-database")}
    run(site, "python", pathlib.Path(__file__).with_name("p11_rewrap.py"), stdin=json.dumps(login))
    p11_check(site)


def p11_check(site):
    label = setting(site.p11_file, "mkek_label")
    for project, meta in project_keys(site, "P11CryptoPlugin"):
        if json.loads(meta)["mkek_label"] != label:
            fail("the key of project %s is not wrapped with %s: run rewrap" % (project, label))


def p11_drop(site):
    p11_check(site)
    print("no project's key needs an older key: delete its objects from the token, except where backups need them")


def nothing(site):
    pass


STEPS = {
    "simple": {"add": add, "use": use, "rewrap": rewrap, "drop": drop},
    "p11": {"add": nothing, "use": p11_use, "rewrap": p11_rewrap, "drop": p11_drop},
}
