#!/usr/bin/env python3
"""The list of common passwords in auth-service/blocklist: makes it, and checks it. Its README says where it comes from.

    scripts/password_blocklist.py take LIST   makes most_common.txt.gz of the published list
    scripts/password_blocklist.py make        makes most_common.bin of most_common.txt.gz
    scripts/password_blocklist.py check       says whether both are as they must be
    scripts/password_blocklist.py find TEXT   says whether a password is on the list
"""

import gzip
import hashlib
import sys
import unicodedata
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "auth-service/blocklist"
TEXT = FOLDER / "most_common.txt.gz"
BINARY = FOLDER / "most_common.bin"

# The published list that `take` reads: another one would be another blocklist.
SOURCE_SHA256 = "eac6323842b3261da0ef4c180c8e23f4d056522ea97c2925b8687f453b40a2be"
# The shortest password that auth-service takes: shorter ones are refused for that.
SHORTEST = 15
# Fewer would not be what SECURITY.md promises.
FEWEST = 3000


def folded(password):
    """As auth-service compares a new password with the list: in form NFC and in lower case."""
    return unicodedata.normalize("NFC", password).lower()


def long_ones(published):
    """The passwords of a list that are long enough, the most common first, each once."""
    return list(dict.fromkeys(password for password in map(folded, published) if len(password) >= SHORTEST))


def key(password):
    """What stands for a password in the binary: the first eight bytes of its SHA-256."""
    return hashlib.sha256(password.encode()).digest()[:8]


def binary(passwords):
    """The keys of the passwords, sorted, so that a look-up is a binary search."""
    return b"".join(sorted(map(key, passwords)))


def passwords():
    """The list, the most common first."""
    return gzip.decompress(TEXT.read_bytes()).decode().splitlines()


def take(path):
    published = Path(path).read_bytes()
    if hashlib.sha256(published).hexdigest() != SOURCE_SHA256:
        return f"{path} is not the list that auth-service/blocklist/README.md names"
    taken = long_ones(published.decode().splitlines())
    # Without a time, so that the same list gives the same file.
    TEXT.write_bytes(gzip.compress("".join(password + "\n" for password in taken).encode(), mtime=0))
    return make()


def make():
    BINARY.write_bytes(binary(passwords()))
    return check()


def check():
    """What is wrong; None when nothing is."""
    listed = passwords()
    if listed != long_ones(listed):
        return f"{TEXT.name} has a line that is short, twice there or not folded"
    if len(listed) < FEWEST:
        return f"{TEXT.name} has {len(listed)} passwords, and must have {FEWEST}"
    if BINARY.read_bytes() != binary(listed):
        return f"{BINARY.name} is not what {TEXT.name} makes: scripts/password_blocklist.py make"
    return None


def find(text):
    listed = passwords()
    place = listed.index(folded(text)) + 1 if folded(text) in listed else None
    print(f"number {place} of {len(listed)}" if place else f"not among the {len(listed)}")
    return None


COMMANDS = {"take": take, "make": make, "check": check, "find": find}

if __name__ == "__main__":
    command, arguments = COMMANDS.get(sys.argv[1]) if len(sys.argv) > 1 else None, sys.argv[2:]
    if command is None or len(arguments) != command.__code__.co_argcount:
        sys.exit(__doc__)
    sys.exit(command(*arguments))
