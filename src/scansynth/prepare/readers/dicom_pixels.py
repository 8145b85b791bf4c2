"""The stored pixels of DICOM, a frame at a time, however they are compressed."""

import gdcm
import numpy as np
from pydicom import FileDataset
from pydicom.encaps import get_frame, parse_fragments
from pydicom.pixels import get_decoder
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import UID, JPEGExtended12Bit, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes

from scansynth.prepare.decoded import RejectedError
from scansynth.prepare.readers.dicom_file import number

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
# Of pydicom's plugins the first that is there decodes, and no other one after it: so an image is the same everywhere,
# and GDCM, which on some damaged streams ends the whole process, reads only what none of the others does.
PLUGINS = ("pydicom", "pyjpegls", "pylibjpeg", "pillow", "gdcm")
# JPEG's retired progressive forms. pydicom has no decoder for them; GDCM has.
PROGRESSIVE = ("1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55")
JPEG = (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *PROGRESSIVE)
END_OF_IMAGE = b"\xff\xd9"
START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # the markers SOF0 to SOF15, and JPEG-LS's SOF55


def count(header: FileDataset) -> int:
    """How many frames the file holds.

    Raises:
        RejectedError: if it holds no pixels or fewer than it says, or if no installed decoder reads them.
    """
    keyword = next((keyword for keyword in PIXELS if header.get(keyword)), None)
    if keyword is None:
        raise RejectedError("no pixel data")
    syntax = header.file_meta.TransferSyntaxUID
    _check_decoder(syntax)
    said = _frames(header)
    if syntax.is_encapsulated:
        short = parse_fragments(header.PixelData)[0] - 1 < said  # the first one is the table of offsets
    else:
        short = keyword == "PixelData" and len(header.PixelData) < get_expected_length(header)
    if short:
        raise RejectedError("damaged: cut short, it holds fewer pixels than its header says")
    return said


def stored(header: FileDataset, index: int) -> tuple[np.ndarray, str]:
    """The values of frame ``index`` (from 0), with what they are: MONOCHROME1 or 2, PALETTE COLOR, or RGB.

    The shape is (height, width), or (height, width, 3) in RGB, which all that is in YBR has been converted to. Anything
    may be raised where the pixels are damaged.
    """
    syntax = header.file_meta.TransferSyntaxUID
    if syntax in JPEG:
        stream = _checked(_stream(header, index), header)
        if syntax in PROGRESSIVE or (syntax == JPEGExtended12Bit and header.BitsStored > 8):
            return _by_gdcm(stream, header), header.PhotometricInterpretation
    pixels, made = get_decoder(syntax).as_array(header, index=index, decoding_plugin=_plugin(syntax))
    return pixels, made["photometric_interpretation"]


def _check_decoder(syntax: UID) -> None:
    name = syntax.name if syntax.is_transfer_syntax else "in a transfer syntax that is not the standard's"
    if syntax in PROGRESSIVE:
        return
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        raise RejectedError(f"compressed in a way that no decoder reads: {name}") from None
    if not available:
        extra = ": pip install pylibjpeg-libjpeg (GPL) adds one" if syntax in JPEG else ""
        raise RejectedError(f"compressed in a way that no installed decoder reads: {name}{extra}")


def _plugin(syntax: UID) -> str:
    if not syntax.is_encapsulated:
        return ""
    plugins = get_decoder(syntax).available_plugins
    return next(name for name in PLUGINS if name in plugins)


def _stream(header: FileDataset, index: int) -> bytes:
    tables = None
    if "ExtendedOffsetTable" in header:
        tables = (header.ExtendedOffsetTable, header.ExtendedOffsetTableLengths)
    return get_frame(header.PixelData, index, number_of_frames=_frames(header), extended_offsets=tables)


def _frames(header: FileDataset) -> int:
    return max(1, int(number(header, "NumberOfFrames") or 1))


def _checked(stream: bytes, header: FileDataset) -> bytes:
    """The stream of a JPEG or JPEG-LS image, which is whole and of the size that the header says.

    The decoders do not make sure: of a cut one some return the upper part, and CharLS never returns.
    """
    if END_OF_IMAGE not in stream[-64:]:
        raise RejectedError("damaged: its pixels are cut short")
    if _size(stream) != (header.Rows, header.Columns):
        raise RejectedError("damaged: its pixels are not as many as its header says")
    return stream


def _size(stream: bytes) -> tuple[int, int]:
    """Rows and columns as a JPEG stream says them itself (ISO/IEC 10918-1, B.2.2)."""
    at = 2  # after the start of the image
    while stream[at + 1] not in START_OF_FRAME:
        # A marker, and its segment's length; or a byte that fills up.
        at += 1 if stream[at + 1] == 0xFF else 2 + int.from_bytes(stream[at + 2 : at + 4])
    return int.from_bytes(stream[at + 5 : at + 7]), int.from_bytes(stream[at + 7 : at + 9])


def _by_gdcm(stream: bytes, header: FileDataset) -> np.ndarray:
    """A JPEG stream of 8 or 12 bits a pixel, gray. pydicom's plugin for GDCM refuses 12; GDCM itself does not."""
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(stream)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((header.Columns, header.Rows, 1))
    image.SetDataElement(element)
    gray = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gray))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(JPEGExtended12Bit))))
    bits = 12 if header.BitsStored > 8 else 8
    image.SetPixelFormat(gdcm.PixelFormat(1, bits, bits, bits - 1, 0))
    # GDCM's buffer comes as text, each byte a character.
    buffer = image.GetBuffer().encode("utf-8", "surrogateescape")
    return np.frombuffer(buffer, np.uint16 if bits > 8 else np.uint8).reshape(header.Rows, header.Columns)
