"""Start slimagent from a bundle: `lib/LOADER … python/bin/python3 -I -S -B -X utf8 start.py ARGUMENT…`.

The bundle's C library and OpenSSL must not read the container's configuration, which would load modules made for other
versions. So accounts and hosts are looked up in files (__nss_configure_lookup, <nss.h>), and OpenSSL reads no
configuration. The environment stays as it is, because the image's programs inherit it.
"""

import ctypes
import importlib
import os
import sys

HOME = os.path.dirname(os.path.abspath(__file__))
os.environ["SLIMAGENT_HOME"] = HOME  # the agent's own directory; the image's programs do not get it
sys.path.insert(0, os.path.join(os.path.dirname(os.__file__), "site-packages"))
sys.argv[0] = "slimagent"
for _name in [each for each in os.environ if each.startswith("SLIMAGENT_ENV_")]:  # kept from us, not from the image
    os.environ[_name[len("SLIMAGENT_ENV_") :]] = os.environ.pop(_name)

_lookup = ctypes.CDLL(None)["__nss_configure_lookup"]
for _database in (b"passwd", b"group", b"initgroups", b"shadow", b"hosts"):
    _lookup(_database, b"files dns" if _database == b"hosts" else b"files")

os.putenv("OPENSSL_CONF", "/dev/null")  # config(5ssl); read once, and `os.environ` does not know
import hashlib  # noqa: E402

hashlib.sha256(b"")
if "OPENSSL_CONF" in os.environ:
    os.putenv("OPENSSL_CONF", os.environ["OPENSSL_CONF"])
else:
    os.unsetenv("OPENSSL_CONF")

if __name__ == "__main__":
    importlib.import_module("slimagent.__main__").main()
