"""What is kept of a patient: a pseudonym, age in years, sex."""

import hashlib
import hmac
import re

OLDEST = 120
UNITS_A_YEAR = {"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}


def pseudonym(patient: str, dataset: str) -> str:
    """``p_`` and twelve hexadecimal digits, the same for all images of a patient; leading zeros do not matter.

    A keyed hash (HMAC-SHA-256). The key is made of the data set's title, so whoever knows the set's identifiers can
    repeat it: enough for a public set, whose identifiers are public. A hospital's set needs a key that is kept secret.
    """
    key = hashlib.sha256(f"scansynth patients of {dataset}".encode()).digest()
    plain = patient.strip().lstrip("0") or "0"
    return f"p_{hmac.new(key, plain.encode(), hashlib.sha256).hexdigest()[:12]}"


def years(age: str) -> str:
    """Age in whole years, as digits; from ``58``, or as DICOM writes it: ``058Y``, ``011M``. Empty if not plausible."""
    match = re.fullmatch(r"(\d{1,4})([YMWD]?)", age.strip().upper())
    if not match:
        return ""
    value = int(match[1]) // UNITS_A_YEAR[match[2]]
    return str(value) if value <= OLDEST else ""


def sex(value: str) -> str:
    """``M``, ``F`` or empty."""
    letter = value.strip().upper()[:1]
    return letter if letter in ("M", "F") else ""
