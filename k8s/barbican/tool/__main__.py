"""teapot-barbican: sets up Keystone and Barbican of k8s/barbican, and rotates their keys. Every command may be run again.

It needs Python and what Keystone and Barbican need anyway, so it is in their image.
"""
import argparse
import os

import bootstrap
import master_key
import site_files
import tenant


def main():
    parser = argparse.ArgumentParser(prog="teapot-barbican", description=__doc__.split("\n")[0])
    parser.add_argument("--root", default="", help="all files are below this directory, for a trial")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name, run, text):
        one = commands.add_parser(name, help=text, description=text)
        one.set_defaults(run=run)
        return one

    init = command("init", site_files.init, "write this installation's settings, passwords and master key")
    init.add_argument("--host", default="127.0.0.1", help="where clients reach both; default: each node asks itself")
    init.add_argument("--keystone-port", type=int, default=5000)
    init.add_argument("--barbican-port", type=int, default=9311)
    init.add_argument("--crypto", choices=["simple", "p11"], default="simple")
    init.add_argument("--library", default="/usr/lib/softhsm/libsofthsm2.so", help="p11: the PKCS#11 module")
    init.add_argument("--token", default="barbican", help="p11: the token's label; its PIN is in secrets/pin")
    command("database", bootstrap.database, "make or upgrade the tables, the Fernet keys and the keys in the token")
    command("services", bootstrap.services, "make Barbican's user and the catalog; waits for Keystone")
    new = command("tenant", tenant.tenant, "make a cluster's project, quota, user and credentials")
    new.add_argument("name")
    new.add_argument("--secrets", type=int, default=100, help="how many secrets its project may have")
    credential = command("credential", tenant.credential, "replace an application credential")
    credential.add_argument("name")
    credential.add_argument("kind", choices=list(tenant.KINDS))
    credential.add_argument("--retire", action="store_true", help="end all others, once each plugin has the new one")
    command("fernet-rotate", bootstrap.fernet_rotate, "make the staged Fernet key the primary; on one node")
    steps = command("master-key", master_key.master_key, "a step of changing Barbican's master key")
    steps.add_argument("step", choices=list(master_key.STEPS["simple"]))
    options = parser.parse_args()
    os.umask(0o077)
    options.run(site_files.Site(options.root), options)


main()
