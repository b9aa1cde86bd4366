"""A reader of releases, written from docs/araupdate.md alone: steps 1 to 7, for Ed25519.

    python3 reader.py KEY.pub FILE     prints "ok IDENTITY" or "no REASON"
"""

import base64
import hashlib
import json
import re
import struct
import subprocess
import sys
import tempfile

CHUNK = 1 << 20
MANIFEST = "application/vnd.arasul.update-manifest.v1+json"
ROOT = "application/vnd.arasul.update-root.v1+json"
MACHINE = {"arch": "amd64", "os": "debian:12", "sequence": 4}


class Refused(Exception):
    pass


def must(yes, why):
    if not yes:
        raise Refused(why)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def strict(text):
    def pairs(items):
        must(len({k for k, _ in items}) == len(items), "key twice")
        must(all(re.fullmatch("[a-z0-9_]{1,40}", k) and v is not None for k, v in items), "key or null")
        return dict(items)

    try:
        return json.loads(text.decode(), object_pairs_hook=pairs, parse_float=lambda _: must(False, "no integer"))
    except ValueError as e:
        raise Refused(str(e))


def good(der, kind, body, signature):
    message = b"DSSEv1 %d %s %d " % (len(kind), kind.encode(), len(body)) + body
    with tempfile.TemporaryDirectory() as d:
        for name, data in (("key", der), ("message", message), ("signature", base64.b64decode(signature["sig"]))):
            with open(f"{d}/{name}", "wb") as f:
                f.write(data)
        return signature["alg"] == "ed25519" and not subprocess.run(
            ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", d + "/key", "-rawin", "-in", d + "/message",
             "-sigfile", d + "/signature"], capture_output=True).returncode


def vouched(root, role, kind, body, signatures):
    ids = set()
    for der in map(base64.b64decode, root["roles"][role]["keys"]):
        key = hashlib.sha256(der).hexdigest()
        if key not in root.get("revoked_keys", []) and any(s["keyid"] == key and good(der, kind, body, s) for s in signatures):
            ids.add(key)
    must(len(ids) >= root["roles"][role]["threshold"], "signatures")


def read(key, path):
    with open(path, "rb") as f:
        data = f.read()
    magic, length, zero, t, s, m, i, p, zeros, crc = struct.unpack("<8sIIIIIIQ20sI", data[:64])
    must(magic == b"ARAUPD\x01\n" and length == 64 and zero == 0 and not any(zeros) and crc == crc32c(data[:60]), "header")
    must(t <= 1 << 18 and 2 <= s <= 1 << 16 and 2 <= m <= 1 << 20 and i == 32 * -(-p // CHUNK) and p > 0, "lengths")
    sections, at = [], 64
    for n in (t, s, m, i):
        sections.append(data[at:at + n])
        at += n
    trust, signatures, manifest, index = sections
    payload = data[at:]
    with open(key) as f:
        der = "".join(line for line in f.read().splitlines() if not line.startswith("-"))
    role = {"keys": [der], "threshold": 1}
    root = {"version": 0, "roles": {"root": role, "release": role}}
    for entry in strict(trust) if trust else []:
        body = base64.b64decode(entry["root"])
        newer = strict(body)
        if newer["version"] <= root["version"]:
            continue
        must(newer["version"] == root["version"] + 1, "version of root")
        for judge in (root, newer):
            vouched(judge, "root", ROOT, body, entry["signatures"])
        root = newer
    vouched(root, "release", MANIFEST, manifest, strict(signatures))
    identity = hashlib.sha256(manifest).hexdigest()
    told = strict(manifest)
    must(told["format"] == "arasul-update/1" and told["product"] == "arasul", "format")
    must(told["index_len"] == i and told["payload_len"] == p and told["index_sha256"] == hashlib.sha256(index).hexdigest(), "binding")
    must(told.get("trust_sha256") in (None, hashlib.sha256(trust).hexdigest()), "trust section")
    must(MACHINE["arch"] in told["requires"]["arch"] and MACHINE["os"] in told["requires"]["os"], "machine")
    must(identity not in root.get("revoked_bundles", []) and told["release"]["sequence"] >= root.get("min_sequence", 0), "revoked")
    must(told["release"]["sequence"] > MACHINE["sequence"], "sequence")
    must(len(payload) == p, "length")
    for n in range(0, p, CHUNK):
        must(hashlib.sha256(payload[n:n + CHUNK]).digest() == index[n // CHUNK * 32:n // CHUNK * 32 + 32], "chunk")
    at = 0
    for part in told["payloads"]:
        must(part["offset"] == at and hashlib.sha256(payload[at:at + part["size"]]).hexdigest() == part["sha256"], "part")
        at += part["size"]
    must(at == p, "parts")
    return identity


try:
    print("ok", read(*sys.argv[1:]))
except Refused as e:
    print("no", e)
