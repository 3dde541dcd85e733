"""Wraps each project's key with the master keys that p11.conf names. "barbican-manage hsm rewrap_pkek" of Barbican 23 does not
work: it calls unwrap_key without its mechanism. master_key.py runs this with Barbican's configuration.

usage: p11_rewrap.py < {"socket": ..., "password": ...}
"""
import base64
import json
import sys

import pymysql
from barbican.plugin.crypto import p11_crypto

login = json.load(sys.stdin)
plugin = p11_crypto.P11CryptoPlugin(p11_crypto.CONF)
token = plugin.pkcs11
session = token.get_session()


def joined(iv, wrapped):
    return wrapped if iv is None else iv + wrapped


def rewrapped(meta):
    """The same key under the new master keys. Its MAC is checked first."""
    iv = meta["iv"] and base64.b64decode(meta["iv"])
    wrapped = base64.b64decode(meta["wrapped_key"])
    mac_key = token.get_key_handle(plugin.hmac_key_type, meta["hmac_label"], session)
    token.verify_hmac(mac_key, base64.b64decode(meta["hmac"]), joined(iv, wrapped), session)
    master = token.get_key_handle(plugin.mkek_key_type, meta["mkek_label"], session)
    key = token.unwrap_key(meta.get("key_wrap_mechanism", "CKM_AES_CBC_PAD"), master, iv, wrapped, session)
    try:
        new_master = token.get_key_handle(plugin.mkek_key_type, plugin.mkek_label, session)
        new = token.wrap_key(new_master, key, session)
    finally:
        token.destroy_object(key, session)
    new_mac_key = token.get_key_handle(plugin.hmac_key_type, plugin.hmac_label, session)
    mac = token.compute_hmac(new_mac_key, joined(new["iv"], new["wrapped_key"]), session)
    text = lambda value: value and base64.b64encode(value).decode()  # noqa: E731
    return dict(meta, mkek_label=plugin.mkek_label, hmac_label=plugin.hmac_label, iv=text(new["iv"]),
                wrapped_key=text(new["wrapped_key"]), hmac=text(mac), key_wrap_mechanism=new["key_wrap_mechanism"])


with pymysql.connect(unix_socket=login["socket"], user="barbican", password=login["password"], database="barbican",
                     connect_timeout=10) as connection, connection.cursor() as cursor:
    cursor.execute("SELECT id, plugin_meta FROM kek_data WHERE plugin_name LIKE %s", ("%P11CryptoPlugin",))
    for row, text in cursor.fetchall():
        found = json.loads(text)
        if (found["mkek_label"], found["hmac_label"]) == (plugin.mkek_label, plugin.hmac_label):
            continue
        new = json.dumps(rewrapped(found), separators=(",", ":"), sort_keys=True)
        cursor.execute("UPDATE kek_data SET plugin_meta = %s WHERE id = %s AND plugin_meta = %s", (new, row, text))
        connection.commit()
