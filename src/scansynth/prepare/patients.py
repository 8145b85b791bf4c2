"""What is kept of a patient: a pseudonym, age in years, sex."""

import hashlib
import hmac
import re
from pathlib import Path

from scansynth.acquire import key as acquire_key
from scansynth.dataset import Dataset

OLDEST = 120
TOP = 90  # years; with private data those who are older are few enough to be found by it (HIPAA Safe Harbor)
UNITS_A_YEAR = {"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}


def pseudonym_key(dataset: Dataset, folder: Path) -> bytes:
    """The key of the pseudonyms of a data set whose ``source.json`` lies in ``folder``.

    Of a private set a secret, which acquisition made once: whoever has it can tell which pseudonym a known patient has.
    Of a public one it is made of the title, as its identifiers are public too.

    Raises:
        ScansynthError: if the secret is not there.
    """
    if dataset.private:
        return acquire_key.read(folder)
    return hashlib.sha256(f"scansynth patients of {dataset.title}".encode()).digest()


def pseudonym(patient: str, key: bytes) -> str:
    """``p_`` and twelve hexadecimal digits, the same for all images of a patient; leading zeros do not matter.

    A keyed hash (HMAC-SHA-256).
    """
    plain = patient.strip().lstrip("0") or "0"
    return f"p_{hmac.new(key, plain.encode(), hashlib.sha256).hexdigest()[:12]}"


def years(age: str, top: int = OLDEST) -> str:
    """Age in whole years, as digits; from ``58``, or as DICOM writes it: ``058Y``, ``011M``. Empty if not plausible.

    An age above ``top`` is given as ``top``.
    """
    match = re.fullmatch(r"(\d{1,4})([YMWD]?)", age.strip().upper())
    if not match:
        return ""
    value = int(match[1]) // UNITS_A_YEAR[match[2]]
    return str(min(value, top)) if value <= OLDEST else ""


def sex(value: str) -> str:
    """``M``, ``F`` or empty."""
    letter = value.strip().upper()[:1]
    return letter if letter in ("M", "F") else ""
