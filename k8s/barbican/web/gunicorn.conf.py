# The web server in front of Keystone and of Barbican; the pod's arguments have the address and the application. SIGHUP
# starts new workers, which read the configuration and the certificate again. Old ones end after their last request.
import os
import pathlib

TLS = os.environ.get("TEAPOT_BARBICAN_ROOT", "") + "/etc/teapot-barbican/tls"

pythonpath = str(pathlib.Path(__file__).resolve().parent)
certfile = TLS + "/tls.crt"
keyfile = TLS + "/tls.key"
worker_class = "gthread"
workers = 2
threads = 4
# The plugin keeps its connections.
keepalive = 75
timeout = 120
graceful_timeout = 30
# A worker shows that it lives in a file. On a slow disk it would look dead.
worker_tmp_dir = "/dev/shm"
