"""Files encrypted to a passphrase: ``age`` opens them, and changed files do not open."""

from __future__ import annotations

import io
import os
import pty
import shutil
import subprocess

import pytest

from vault.crypto import age, primitive
from vault.crypto.age import NotAge, WrongPassphrase, begin, decrypt
from vault.errors import InvalidInput

PASSPHRASE = "correct horse battery staple"
FAST = 10
"""The work factor of the tool's own test vectors; a higher one would only slow the tests down."""
# The header of the vector "scrypt" of the format's test suite (C2SP, CCTV): passphrase "password".
VECTOR = (
    b"age-encryption.org/v1\n"
    b"-> scrypt rF0/NwblUHHTpgQgRpe5CQ 10\n"
    b"gUjEymFKMVXQEKdMMHL24oYexjE3TIC0O0zGSqJ2aUY\n"
    b"--- IOXiQYStkoT1mvZW2tFOqZdhRVvj58egABx/sWfZQbc\n"
)
VECTOR_NONCE = bytes.fromhex("1b35c6e687dd00da3ac379ac9f742c21")
VECTOR_FILE_KEY = b"YELLOW SUBMARINE"

installed = pytest.mark.skipif(shutil.which("age") is None, reason="`age` is not installed")


async def _pieces(data, size=10_000):
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def encrypted(data, passphrase=PASSPHRASE):
    created = await begin(passphrase, work_factor=FAST)
    return b"".join([piece async for piece in created.stream(_pieces(data))])


def opened(file, passphrase=PASSPHRASE):
    return b"".join(decrypt(io.BytesIO(file), passphrase))


@pytest.mark.parametrize("size", [0, 1, age.PIECE - 1, age.PIECE, age.PIECE + 1, 3 * age.PIECE])
async def test_an_encrypted_file_opens_and_has_the_predicted_size(size):
    data = os.urandom(size)
    file = await encrypted(data)
    assert opened(file) == data
    assert len(file) == age.Encryption.size(size)


def test_the_published_header_opens():
    payload = age._payload_cipher(VECTOR_FILE_KEY, VECTOR_NONCE).encrypt(primitive._nonce(0, last=True), b"age", None)
    assert opened(VECTOR + VECTOR_NONCE + payload, "password") == b"age"


@pytest.mark.parametrize(
    "changed",
    [
        VECTOR.replace(b" 10\n", b" 010\n"),
        VECTOR.replace(b" 10\n", b" +10\n"),
        VECTOR.replace(b" 10\n", b" 0\n"),
        VECTOR.replace(b" 10\n", b" 23\n"),
        VECTOR.replace(b" 10\n", b" 99\n"),
        VECTOR.replace(b"/v1", b"/v2"),
        VECTOR.replace(b"\n", b"\r\n"),
        VECTOR.replace(b"CQ 10", b"CR 10"),  # other bits where the last character says nothing
        VECTOR.replace(b"Qbc\n", b"Qbd\n"),
        VECTOR.replace(b"--- I", b"--- J"),
        VECTOR.replace(b"-> scrypt", b"-> X25519"),
        b"PK\x03\x04",
        b"",
    ],
)
def test_a_noncanonical_header_is_refused(changed):
    with pytest.raises(NotAge):
        opened(changed + VECTOR_NONCE + bytes(16), "password")


async def test_another_passphrase_opens_nothing():
    file = await encrypted(b"secret")
    with pytest.raises(WrongPassphrase):
        opened(file, PASSPHRASE + " ")


async def test_truncated_moved_or_changed_chunks_are_refused():
    file = await encrypted(os.urandom(3 * age.PIECE))
    start = age._HEADER_SIZE + 16
    piece = age.PIECE + age.TAG
    first, second, third = (file[start + n * piece : start + (n + 1) * piece] for n in range(3))
    wrong = {
        "cut off at a piece": file[:-piece],
        "cut off within a piece": file[:-1],
        "cut off in the header": file[:80],
        "no piece at all": file[:start],
        "two pieces swapped": file[:start] + second + first + third,
        "something added": file + b"x",
        "a bit flipped": file[:-1] + bytes([file[-1] ^ 1]),
    }
    taken = []
    for what, changed in wrong.items():
        try:
            opened(changed)
        except NotAge:
            continue
        taken.append(what)
    assert not taken


async def test_an_empty_last_chunk_is_refused_unless_the_file_is_empty():
    cipher = age._payload_cipher(VECTOR_FILE_KEY, VECTOR_NONCE)
    whole = cipher.encrypt(primitive._nonce(0, last=False), bytes(age.PIECE), None)
    empty = cipher.encrypt(primitive._nonce(1, last=True), b"", None)
    with pytest.raises(NotAge):
        opened(VECTOR + VECTOR_NONCE + whole + empty, "password")


async def test_encrypting_twice_gives_different_files():
    assert await encrypted(b"secret") != await encrypted(b"secret")


@pytest.mark.parametrize("passphrase", ["", "too short", "x" * 11, "x" * 1_001])
async def test_the_length_of_a_passphrase_is_bounded(passphrase):
    with pytest.raises(InvalidInput) as refused:
        await begin(passphrase, work_factor=FAST)
    assert refused.value.code == "invalid-passphrase"


def test_the_work_factor_is_that_of_age():
    assert age.WORK_FACTOR == 18


def _typed(command, passphrase, times):
    """Run a command that reads the passphrase from a terminal."""
    main, side = pty.openpty()
    run = subprocess.Popen(command, stdin=side, stdout=side, stderr=side, preexec_fn=_own_terminal(side))  # noqa: PLW1509
    os.close(side)
    said = b""
    for _ in range(times):
        while not said.endswith(b": "):
            said += os.read(main, 1000)
        os.write(main, passphrase.encode() + b"\n")
        said = b""
    run.wait(60)
    os.close(main)
    return run.returncode


def _own_terminal(side):
    def settle():
        import fcntl
        import termios

        os.setsid()
        fcntl.ioctl(side, termios.TIOCSCTTY, 0)

    return settle


@installed
async def test_the_age_tool_opens_files_encrypted_here(tmp_path):
    data = os.urandom(2 * age.PIECE + 5)
    (tmp_path / "made.age").write_bytes(await encrypted(data))
    command = ["age", "-d", "-o", str(tmp_path / "out"), str(tmp_path / "made.age")]
    assert _typed(command, PASSPHRASE, 1) == 0
    assert (tmp_path / "out").read_bytes() == data


@installed
def test_files_of_the_age_tool_open_here(tmp_path):
    (tmp_path / "in").write_bytes(b"from the tool")
    command = ["age", "-p", "-o", str(tmp_path / "made.age"), str(tmp_path / "in")]
    assert _typed(command, PASSPHRASE, 2) == 0
    assert opened((tmp_path / "made.age").read_bytes()) == b"from the tool"
