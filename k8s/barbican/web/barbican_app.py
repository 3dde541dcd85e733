"""Barbican for gunicorn. Its own module reads /etc/barbican only."""
import pathlib

from paste import deploy

application = deploy.loadapp("config:%s" % (pathlib.Path(__file__).resolve().parent / "barbican-api-paste.ini"))
