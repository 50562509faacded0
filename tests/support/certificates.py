"""Certificates for TLS tests, made with the openssl program: authorities, and what they issue, valid or wrong in one thing.
Keys are PEM and PKCS#8, as RocketMQ's servers want them."""

import datetime
import pathlib
import subprocess

from processes import CheckFailed

_CA_CONFIG = """\
[ca]
default_ca = ca_default
[ca_default]
database = {folder}/index.txt
serial = {folder}/serial
new_certs_dir = {folder}
default_md = sha256
policy = policy_any
unique_subject = no
[policy_any]
commonName = supplied
"""


def _openssl(*args):
    result = subprocess.run(["openssl", *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    if result.returncode != 0:
        raise CheckFailed(f"openssl {args[0]} failed: {result.stderr.strip()}")


def _time(days_from_now):
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days_from_now)
    return moment.strftime("%Y%m%d%H%M%SZ")


def _make_key(path, key, password=None):
    """A PKCS#8 key: key is "ec" or the bits of an RSA key. Mode 0600, as files with secrets must have."""
    kind = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"] if key == "ec" else ["-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{key}"]
    _openssl("genpkey", *kind, *(["-aes-256-cbc", "-pass", f"pass:{password}"] if password else []), "-out", path)
    path.chmod(0o600)


class Issued:
    """One certificate and its key, as files."""

    def __init__(self, cert, key):
        self.cert = cert
        self.key = key


class Authority:
    """A certificate authority in a folder of its own; .cert is what a peer has to trust."""

    def __init__(self, folder, name="Test CA"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True)
        self.cert, self.key = self.folder / "ca.pem", self.folder / "ca.key"
        self.config = self.folder / "openssl.cnf"
        self.config.write_text(_CA_CONFIG.format(folder=self.folder))
        (self.folder / "index.txt").touch()
        (self.folder / "serial").write_text("1000\n")
        _make_key(self.key, "ec")
        _openssl("req", "-x509", "-new", "-key", self.key, "-out", self.cert, "-days", 30, "-subj", f"/CN={name}",
                 "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def issue(self, name, addresses=("IP:127.0.0.1",), first_day=-1, last_day=30, key=2048, password=None):
        """A certificate called name for a server at the addresses ("IP:..." and "DNS:..."), or for a client (no addresses),
        valid from first_day to last_day, counted from today."""
        path = self.folder / name
        issued = Issued(path.with_suffix(".pem"), path.with_suffix(".key"))
        request, extensions = path.with_suffix(".csr"), path.with_suffix(".ext")
        _make_key(issued.key, key, password)
        extensions.write_text("\n".join(["basicConstraints=critical,CA:FALSE", "authorityKeyIdentifier=keyid", "subjectKeyIdentifier=hash",
                                         f"extendedKeyUsage={'serverAuth,clientAuth' if addresses else 'clientAuth'}",
                                         *([f"subjectAltName={','.join(addresses)}"] if addresses else []), ""]))
        _openssl("req", "-new", "-key", issued.key, "-out", request, "-subj", f"/CN={name}", *(["-passin", f"pass:{password}"] if password else []))
        _openssl("ca", "-batch", "-notext", "-config", self.config, "-cert", self.cert, "-keyfile", self.key, "-in", request, "-out", issued.cert,
                 "-extfile", extensions, "-startdate", _time(first_day), "-enddate", _time(last_day))
        return issued
