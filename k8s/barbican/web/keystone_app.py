"""Keystone for gunicorn. It reads the arguments of the program, which are gunicorn's."""
import sys

sys.argv = sys.argv[:1]

from keystone.wsgi.api import application  # noqa: E402, F401
