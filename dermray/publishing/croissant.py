"""Croissant 1.0 metadata (mlcommons.org/croissant): files with their SHA-256, records with typed fields, RAI fields.

Written without `mlcroissant`: whoever exports does not need it. Tests let it validate and read the records.
"""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from dermray.publishing.facts import Facts
from dermray.publishing.features import column
from dermray.publishing.files import Written
from dermray.publishing.licences import LICENCES
from dermray.publishing.meanings import MEANINGS

CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
MIME = {
    "parquet": "application/x-parquet", "tar": "application/x-tar", "jpg": "image/jpeg", "png": "image/png",
    "json": "application/json", "tif": "image/tiff", "webp": "image/webp", "bmp": "image/bmp", "gif": "image/gif",
}  # fmt: skip
STEM = r"^([0-9a-f]{64})[.][a-z]+$"  # of a file's name
SPLIT = r"^(?:.*/)?(train|validation|test)[-/].*$"  # of its place
FILES, RECORDS = "files", "images"
Json = dict[str, Any]
Shape = tuple[list[Json], list[Json]]  # sets of files, and of records


def croissant(facts: Facts) -> bytes:
    """The file, JSON-LD. The same bytes for the same export."""
    sets, records = SHAPES[facts.config.format](facts)
    origins = "; ".join(f"{origin.name} {origin.url}".strip() for origin, _ in facts.origins.values())
    said = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": facts.title,
        "description": f"{facts.rows} images of skin lesions, {facts.synthetic} of them synthetic. For research; not a "
        "medical device and not for diagnosis. README.md has counts, licences and limits.",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "license": [LICENCES[name].url if name in LICENCES else name for name in facts.licences],
        "dateCreated": facts.made,
        "version": f"1.0.0+{facts.result.manifest.key}",
        "citeAs": f"Cite the data sets: {origins}",
        "keywords": ["dermatology", "skin lesions", *(["synthetic"] if facts.synthetic else [])],
        **_responsible(facts),
        "distribution": [*map(_file, facts.wrote.files), *sets],
        "recordSet": records,
    }
    return json.dumps(said, indent=1, ensure_ascii=False).encode()


def _responsible(facts: Facts) -> Json:
    """Of the RAI vocabulary what is known."""
    unknown = ", ".join(f"{name} of {number}" for name, number in sorted(facts.survey.missing.items()) if number)
    said: Json = {
        "rai:dataCollection": "Published data sets and the exporter's files, read by dermray; see README.md.",
        "rai:dataCollectionMissingData": f"Null where unknown, of {facts.rows} images: {unknown or 'none'}.",
        "rai:dataPreprocessingProtocol": [
            "Images that cannot be decoded, and copies, are left out; leak groups (patient, lesion, same bytes, near "
            "duplicates) lie in one split."
        ],
        "rai:dataLimitations": [
            "Not for diagnosis, triage or treatment. Not to re-identify anybody. Counts by skin tone, sex and label in "
            "README.md show whom it hardly shows."
        ],
        "rai:personalSensitiveInformation": [
            "Photographs of skin with, where known, age, sex, skin tone and diagnosis: health data. "
            f"{facts.wrote.positions} images hold a position (GPS) in their EXIF."
        ],
    }
    tools = []
    if facts.estimated_tones:
        tools.append(f"{facts.estimated_tones} skin tones were estimated from pixels")
    if "caption" in facts.columns:
        tools.append("captions were written by the model in the column captioner, or are prompts")
    if facts.spoken:
        tools.append("answers, and some questions, were written by a model")
    if tools:
        said["rai:machineAnnotationTools"] = tools
    return said


def _file(written: Written) -> Json:
    return {
        "@type": "cr:FileObject",
        "@id": written.name,
        "name": written.name,
        "contentUrl": written.name,
        "contentSize": f"{written.bytes} B",
        "encodingFormat": MIME[written.name.rpartition(".")[2]],
        "sha256": written.sha256,
    }


def _parquet(facts: Facts) -> Shape:
    image = _field("image", "sc:ImageObject", _from(FILES, {"column": "image"}, {"jsonPath": "bytes"}))
    fields = [image, _split(FILES), *_columns(facts, FILES)]
    return [_set(FILES, ["data/*.parquet"], [MIME["parquet"]])], [_records(RECORDS, fields)]


def _imagefolder(facts: Facts) -> Shape:
    """Tables, joined with the images by the names of their files."""
    tables = _set("tables", ["*/*/metadata.parquet"], [MIME["parquet"]])
    name = _field("file_name", "sc:Text", _from("tables", {"column": "file_name"}))
    name["references"] = _from(FILES, {"fileProperty": "filename"})
    image = _field("image", "sc:ImageObject", _from(FILES, {"fileProperty": "content"}))
    fields = [name, image, _split("tables"), *_columns(facts, "tables")]
    return [tables, _pictures(facts, "*/*/*.{}")], [_records(RECORDS, fields)]


def _webdataset(facts: Facts) -> Shape:
    """Images, and the JSON of each as a text with the same sample_id: mlcroissant (1.1) reads into no JSON of an
    archive, and joins no files whose names end otherwise. A sample's split is the name of its shard."""
    shards = [written.name for written in facts.wrote.files]
    told = _set("json", ["*.json"], ["application/json"], shards)
    image = _field("image", "sc:ImageObject", _from(FILES, {"fileProperty": "content"}))
    words = _field("json", "sc:Text", _from("json", {"fileProperty": "content"}), "descriptions")
    records = [_records(RECORDS, [_stem(FILES, RECORDS), image])]
    records.append(_records("descriptions", [_stem("json", "descriptions"), words]))
    return [_pictures(facts, "*.{}", shards), told], records


def _lists(facts: Facts) -> Shape:
    """Images of conversations. The lists are named as files: mlcroissant (1.1) would read them whole, and has no field
    for turns."""
    image = _field("image", "sc:ImageObject", _from(FILES, {"fileProperty": "content"}))
    fields = [_stem(FILES, RECORDS), image, _split(FILES)]
    return [_pictures(facts, "images/*/*/*.{}")], [_records(RECORDS, fields)]


SHAPES = {
    "parquet": _parquet,
    "imagefolder": _imagefolder,
    "webdataset": _webdataset,
    "hf": _parquet,
    "llava": _lists,
    "sharegpt": _lists,
}


def _set(name: str, includes: list[str], formats: list[str], within: Sequence[str] = ()) -> Json:
    said: Json = {"@type": "cr:FileSet", "@id": name, "name": name, "includes": includes, "encodingFormat": formats}
    return said | ({"containedIn": [{"@id": each} for each in within]} if within else {})


def _pictures(facts: Facts, pattern: str, within: Sequence[str] = ()) -> Json:
    endings = sorted(facts.wrote.endings)
    return _set(FILES, [pattern.format(ending) for ending in endings], [MIME[ending] for ending in endings], within)


def _records(name: str, fields: list[Json]) -> Json:
    said = {"@type": "cr:RecordSet", "@id": name, "name": name, "description": "a record an image"}
    return said | {"key": {"@id": f"{name}/sample_id"}, "field": fields}


def _field(name: str, kind: str | list[str], source: Json, records: str = RECORDS) -> Json:
    said = {"@type": "cr:Field", "@id": f"{records}/{name}", "name": name, "dataType": kind, "source": source}
    return said | ({"description": MEANINGS[name]} if name in MEANINGS else {})


def _from(files: str, extract: Json, transform: Json | None = None) -> Json:
    return {"fileSet": {"@id": files}, "extract": extract, **({"transform": transform} if transform else {})}


def _stem(files: str, records: str) -> Json:
    return _field("sample_id", "sc:Text", _from(files, {"fileProperty": "filename"}, {"regex": STEM}), records)


def _split(files: str) -> Json:
    place = _from(files, {"fileProperty": "fullpath"}, {"regex": SPLIT})
    return _field("split", ["sc:Text", "cr:Split"], place)


def _columns(facts: Facts, files: str) -> list[Json]:
    """A field for each column that is one value or a list of them; `pairs` and `messages` stand in the files alone."""
    fields = []
    for name in facts.columns:
        kind = column(name).type
        inner = kind.value_type if pa.types.is_list(kind) else kind
        if not pa.types.is_struct(inner):
            repeated = {"repeated": True} if pa.types.is_list(kind) else {}
            fields.append(_field(name, _type(inner), _from(files, {"column": name})) | repeated)
    return fields


def _type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    return "sc:Integer" if pa.types.is_integer(kind) else "sc:Float" if pa.types.is_floating(kind) else "sc:Text"
