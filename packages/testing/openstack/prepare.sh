#!/usr/bin/env bash
# Prepares one directory with configuration and databases for real Keystone and Barbican (Debian packages), which then run as
# plain processes on 127.0.0.1. Nothing is written to /etc, and root is not needed. `src/daemons/openstack.ts` starts the processes.
#
# If template.sh has saved a cloud, it is copied with its users. In that case DIR/state.json exists.
#
# usage: prepare.sh DIR KEYSTONE_PORT BARBICAN_PORT
#   CRYPTO=simple|p11    encryption in Barbican: simple_crypto, or its PKCS#11 plugin with SoftHSM2
#   TOKEN_TTL=s          lifetime of a Keystone token
#   TOKEN_CACHE=s        how long Barbican caches a validated token; -1: Barbican validates each request with Keystone
set -euo pipefail
umask 077
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
D=$(cd "$1" && pwd)
KS=http://127.0.0.1:$2 BB=http://127.0.0.1:$3
PY=/usr/bin/python3 # the packages are in the dist-packages of Debian's Python
mkdir -p "$D"/{home/.barbican,keystone,barbican,softhsm/tokens}
bash "$here/template.sh" restore "$D" "$KS" "$BB" || echo 'no saved cloud; creating a new one'
# Barbican has no --config-file option. Each of its modules reads ~/.barbican/barbican.conf.
export HOME=$D/home PYTHONDONTWRITEBYTECODE=1 PATH=/usr/sbin:/usr/bin:/sbin:/bin
unset PYTHONPATH PYTHONHOME
export SOFTHSM2_CONF=$D/softhsm/softhsm2.conf
printf 'directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n' "$D/softhsm/tokens" >"$SOFTHSM2_CONF"
cd "$D"
secret() { [ -s "$D/$1" ] || "${@:2}" >"$D/$1"; cat "$D/$1"; }
ADMIN_PW=$(secret keystone/admin.password openssl rand -hex 18)
BARBICAN_PW=$(secret barbican/service.password openssl rand -hex 18)
# A Fernet key is 32 random bytes in URL-safe base64.
SIMPLE_KEK=$(secret barbican/simple.kek sh -c 'openssl rand -base64 32 | tr +/ -_')
P11_PIN=$(secret softhsm/pin openssl rand -hex 8)

cat >"$D/keystone/keystone.conf" <<CONF
[DEFAULT]
use_stderr = True
public_endpoint = $KS/
[database]
connection = sqlite:///$D/keystone/keystone.db
[token]
provider = fernet
expiration = $TOKEN_TTL
[fernet_tokens]
key_repository = $D/keystone/fernet-keys
[fernet_receipts]
key_repository = $D/keystone/fernet-keys
[credential]
key_repository = $D/keystone/credential-keys
[identity]
# the minimum of bcrypt: each login computes one hash
password_hash_rounds = 4
[oslo_policy]
policy_file = $D/keystone/policy.yaml
CONF
cat >"$D/keystone/wsgi_keystone.py" <<'CODE'
import sys
sys.argv = sys.argv[:1]      # Keystone passes sys.argv to oslo.config, so this hides the arguments of the server
from keystone.server.wsgi import initialize_public_application
application = initialize_public_application()
CODE
cat >"$D/barbican/api-paste.ini" <<'CONF'
[composite:main]
use = egg:Paste#urlmap
/: version
/v1: api
[pipeline:version]
pipeline = http_proxy_to_wsgi microversion versionapp
[pipeline:api]
pipeline = http_proxy_to_wsgi authtoken context microversion apiapp
[app:apiapp]
paste.app_factory = barbican.api.app:create_main_app
[app:versionapp]
paste.app_factory = barbican.api.app:create_version_app
[filter:context]
paste.filter_factory = barbican.api.middleware.context:ContextMiddleware.factory
[filter:microversion]
paste.filter_factory = barbican.api.middleware.microversion:MicroversionMiddleware.factory
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
[filter:http_proxy_to_wsgi]
paste.filter_factory = oslo_middleware:HTTPProxyToWSGI.factory
CONF
cp "$here/wsgi_barbican.py" "$D/barbican/wsgi_barbican.py"
cat >"$D/home/.barbican/barbican.conf" <<CONF
[DEFAULT]
use_stderr = True
host_href = $BB
sql_connection = sqlite:///$D/barbican/barbican.db
db_auto_create = False
[database]
# Barbican 20 reads this setting, Barbican 15 reads sql_connection
connection = sqlite:///$D/barbican/barbican.db
[queue]
enable = False
[keystone_notifications]
enable = False
[keystone_authtoken]
auth_type = password
auth_url = $KS
www_authenticate_uri = $KS
username = barbican
user_domain_id = default
project_name = service
project_domain_id = default
password = $BARBICAN_PW
token_cache_time = $TOKEN_CACHE
# by default Barbican retries for 12 s before it reports that Keystone is down
http_request_max_retries = 1
service_token_roles_required = True
# without it, Barbican answers 401 to tokens of application credentials with access rules
service_type = key-manager
[oslo_policy]
policy_file = $D/barbican/policy.yaml
[secretstore]
enabled_secretstore_plugins = store_crypto
[crypto]
enabled_crypto_plugins = ${CRYPTO}_crypto
[simple_crypto_plugin]
kek = $SIMPLE_KEK
[p11_crypto_plugin]
library_path = /usr/lib/softhsm/libsofthsm2.so
token_labels = barbican
login = $P11_PIN
mkek_label = mkek_1
mkek_length = 32
hmac_label = hmac_1
hmac_key_type = CKK_GENERIC_SECRET
hmac_keygen_mechanism = CKM_GENERIC_SECRET_KEY_GEN
hmac_keywrap_mechanism = CKM_SHA256_HMAC
encryption_mechanism = CKM_AES_CBC
key_wrap_mechanism = CKM_AES_KEY_WRAP_PAD
key_wrap_generate_iv = False
always_set_cka_sensitive = False
os_locking_ok = True
CONF

[ ! -e "$D/state.json" ] || exit 0

# Keystone keeps read transactions open while it writes. With the default journal of SQLite its first write fails with "database
# is locked".
wal() {
  $PY -c 'import sqlite3,sys
c = sqlite3.connect("file:" + sys.argv[1] + "?mode=rw", uri=True)
assert c.execute("pragma journal_mode=wal").fetchone()[0] == "wal"' "$1"
}
keystone() {
  local km=(keystone-manage --config-file "$D/keystone/keystone.conf") pid
  "${km[@]}" fernet_setup --keystone-user "$(id -un)" --keystone-group "$(id -gn)" &
  pid=$!
  "${km[@]}" db_sync
  wait $pid
  "${km[@]}" bootstrap --bootstrap-password "$ADMIN_PW" --bootstrap-region-id RegionOne \
    --bootstrap-public-url "$KS/v3/" --bootstrap-internal-url "$KS/v3/" --bootstrap-admin-url "$KS/v3/"
  wal "$D/keystone/keystone.db"
}
barbican() {
  if [ "$CRYPTO" = p11 ]; then
    softhsm2-util --init-token --free --label barbican --pin "$P11_PIN" --so-pin "$(openssl rand -hex 8)"
    $PY -m barbican.cmd.barbican_manage hsm gen_mkek
    $PY -m barbican.cmd.barbican_manage hsm gen_hmac
  fi
  $PY -m barbican.cmd.barbican_manage db upgrade
  wal "$D/barbican/barbican.db"
}
# Both run in the background. To the left of || or && bash would ignore set -e inside them.
(
  set -e
  barbican
) &
bpid=$!
(
  set -e
  keystone
) &
kpid=$!
wait $kpid
wait $bpid
