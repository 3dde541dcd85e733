"""Where everything is on a node, and what differs between installations: addresses, passwords, the master key."""
import os
import pathlib
import secrets
import tempfile

from cryptography import fernet

SHARE = pathlib.Path(__file__).resolve().parent.parent
DATABASES = ("keystone", "barbican")


class Site:
    """The files of one installation. `root` is "" on a node, and a directory in a trial."""

    def __init__(self, root=""):
        self.root = root
        self.etc = pathlib.Path(root + "/etc/teapot-barbican")
        self.state = pathlib.Path(root + "/var/lib/teapot-barbican")
        self.socket = pathlib.Path(root + "/run/teapot-barbican/mariadb.sock")
        self.ca = self.etc / "tls/ca.crt"
        self.kek_file = self.etc / "barbican.conf.d/kek.conf"
        self.p11_file = self.etc / "barbican.conf.d/p11.conf"

    def secret(self, name, make=lambda: secrets.token_hex(24)):
        """A password or key that is made once."""
        path = self.etc / "secrets" / name
        if not path.exists():
            write(path, make() + "\n")
        return path.read_text().strip()

    def database_url(self, name):
        return "mysql+pymysql://%s:%s@localhost/%s?charset=utf8mb4&unix_socket=%s" % (
            name, self.secret(name + "-database"), name, self.socket)

    def environment(self):
        """For keystone-manage, barbican-manage and the servers. Barbican looks for its configuration in $HOME only."""
        found = {"OS_KEYSTONE_CONFIG_FILES": "%s;%s" % (SHARE / "config/keystone.conf", self.etc / "keystone.conf.d/site.conf")}
        if self.root:
            found["HOME"] = self.root + "/home"
        return found

    @property
    def urls(self):
        """The URLs of Keystone and Barbican, as "init" was told."""
        keystone, barbican = (self.etc / "urls").read_text().split()
        return {"keystone": keystone, "barbican": barbican}


def write(path, text, mode=0o600):
    """Replaces a file; whoever reads it at the same time finds the old or the new one, and after a power cut too."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd, new = tempfile.mkstemp(dir=path.parent, prefix="." + path.name)
    try:
        os.fchmod(fd, mode)
        with os.fdopen(fd, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.rename(new, path)
    except BaseException:
        os.unlink(new)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def conf(sections):
    """The text of a configuration file of OpenStack. A list is a setting that is there several times."""
    lines = []
    for section, settings in sections.items():
        lines.append("[%s]" % section)
        for name, value in settings.items():
            lines += ["%s = %s" % (name, one) for one in (value if isinstance(value, list) else [value])]
    return "\n".join(lines) + "\n"


def init(site, options):
    """Writes what is missing, and the settings anew. Passwords and keys that are there stay."""
    urls = {name: "https://%s:%d" % (options.host, port)
            for name, port in (("keystone", options.keystone_port), ("barbican", options.barbican_port))}
    write(site.etc / "urls", "%(keystone)s\n%(barbican)s\n" % urls)
    site.secret("admin")
    keys = site.state / "fernet-keys"
    write(site.etc / "keystone.conf.d/site.conf", conf({
        "DEFAULT": {"public_endpoint": urls["keystone"] + "/"},
        "database": {"connection": site.database_url("keystone")},
        "fernet_tokens": {"key_repository": keys},
        "fernet_receipts": {"key_repository": keys},
        "credential": {"key_repository": site.state / "credential-keys"},
    }))
    write(site.etc / "barbican.conf.d/site.conf", conf({
        "DEFAULT": {"host_href": urls["barbican"]},
        "database": {"connection": site.database_url("barbican")},
        "keystone_authtoken": {
            "auth_url": urls["keystone"],
            "www_authenticate_uri": urls["keystone"],
            "cafile": site.ca,
            "password": site.secret("barbican"),
        },
        "crypto": {"enabled_crypto_plugins": options.crypto + "_crypto"},
    }))
    if options.crypto == "simple" and not site.kek_file.exists():
        write_keks(site, [fernet.Fernet.generate_key().decode()])
    if options.crypto == "p11" and not site.p11_file.exists():
        write_p11(site, options, generation=1)
    write_mariadb(site)
    if site.root:
        link_home(site)


def write_keks(site, keks):
    """Barbican encrypts with the first one, and decrypts with each."""
    write(site.kek_file, conf({"simple_crypto_plugin": {"kek": keks}}))


def write_p11(site, options, generation):
    """Barbican encrypts with the keys of these labels. What others have encrypted names their labels."""
    pin = site.secret("pin", make=lambda: fail("no PIN: write it to %s first" % (site.etc / "secrets/pin")))
    write(site.p11_file, conf({"p11_crypto_plugin": {
        "library_path": options.library,
        "token_labels": options.token,
        "login": pin,
        "mkek_label": "mkek_%d" % generation,
        "hmac_label": "hmac_%d" % generation,
        "mkek_length": 32,
        "hmac_key_type": "CKK_GENERIC_SECRET",
        "hmac_keygen_mechanism": "CKM_GENERIC_SECRET_KEY_GEN",
        "hmac_mechanism": "CKM_SHA256_HMAC",
        "encryption_mechanism": "CKM_AES_GCM",
        "key_wrap_mechanism": "CKM_AES_KEY_WRAP_PAD",
        "key_wrap_generate_iv": False,
        "always_set_cka_sensitive": False,
        "os_locking_ok": True,
    }}))


def write_mariadb(site):
    users = "".join("""CREATE DATABASE IF NOT EXISTS %(name)s;
CREATE USER IF NOT EXISTS '%(name)s'@'localhost' IDENTIFIED BY '%(password)s';
ALTER USER '%(name)s'@'localhost' IDENTIFIED BY '%(password)s';
GRANT ALL PRIVILEGES ON %(name)s.* TO '%(name)s'@'localhost';
""" % {"name": name, "password": site.secret(name + "-database")} for name in DATABASES)
    write(site.etc / "users.sql", users)
    (site.etc / "mariadb.cnf.d").mkdir(exist_ok=True, mode=0o700)
    site.socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    site.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    write(site.etc / "mariadb.cnf", """!include %s
[mariadbd]
datadir = %s
socket = %s
pid-file = %s
init-file = %s
!includedir %s
""" % (SHARE / "config/mariadb.cnf", site.state / "mysql", site.socket, site.socket.with_suffix(".pid"),
       site.etc / "users.sql", site.etc / "mariadb.cnf.d"))


def link_home(site):
    """In a trial, $HOME has what is in /etc/barbican in the image."""
    home = pathlib.Path(site.root) / "home/.barbican"
    home.mkdir(parents=True, exist_ok=True)
    for name, target in (("barbican.conf", SHARE / "config/barbican.conf"),
                         ("barbican.conf.d", site.etc / "barbican.conf.d")):
        (home / name).unlink(missing_ok=True)
        (home / name).symlink_to(target)


def fail(message):
    raise SystemExit("teapot-barbican: " + message)
