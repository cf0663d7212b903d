"""DICOM files made for tests, with a patient whose name must not come through."""

import io

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

NAME = "DOE^JANE"
GONE = object()


def dicom(pixels, syntax=ExplicitVRLittleEndian, stored=None, **tags):
    """The bytes of a DX film; `tags` by keyword, GONE to leave one out."""
    signed = pixels.dtype.kind == "i"
    bits = 8 * pixels.dtype.itemsize
    film = Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = syntax
    film.file_meta.MediaStorageSOPClassUID = film.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID = generate_uid(entropy_srcs=["film"])
    film.PatientName, film.PatientID, film.PatientBirthDate = NAME, "JANE-1970", "19700101"
    film.InstitutionName = f"Clinic of {NAME}"
    film.Rows, film.Columns = pixels.shape[:2]
    film.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    film.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        film.PlanarConfiguration = 0
    film.BitsAllocated, film.BitsStored, film.HighBit = bits, stored or bits, (stored or bits) - 1
    film.PixelRepresentation = int(signed)
    little = pixels.astype(pixels.dtype.newbyteorder("<"))
    film.add_new("PixelData", "OW" if bits == 16 else "OB", little.tobytes() + b"\0" * (pixels.nbytes % 2))
    for keyword, value in tags.items():
        if value is GONE:
            delattr(film, keyword)
        else:
            setattr(film, keyword, value)
    stream = io.BytesIO()
    film.save_as(stream, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return stream.getvalue()


def ramp(dtype=np.uint16, low=0, high=4095, shape=(6, 5)):
    """Values from low to high."""
    return np.linspace(low, high, shape[0] * shape[1]).round().astype(dtype).reshape(shape)
