"""Mutations of files: bytes, tables of numbers, XML, YAML, JSON, arrays. Each takes the content and a random
generator; the same seed gives the same bytes."""
import io
import json
import re
import struct
import zipfile

import numpy as np

CELLS = ["nan", "NaN", "inf", "-inf", "1e400", "1e308", "-1e30", "1,5", "1.234,5", "0x10", "1_0", "", "-",
         ".",
         "1e", "1.5.2", "٣", "１２", "—", "none", "null", "NULL", "true", "1 2", '"1.0"', "0100", "1:30",
         "-0",
         "1e-320", "+5", "5.", "1d3", "#", "%", "'", "1e5", "99999999999999999999", "\u00a05", "é"]
NUMBER = re.compile(rb"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?")


def one_of(rng, items):
    """An item."""
    return items[int(rng.integers(len(items)))]


def cell(rng) -> bytes:
    """A cell that is no usual number."""
    return one_of(rng, CELLS).encode()


# --- bytes ---

def flip_bit(data, rng):
    """One bit of one byte."""
    i = int(rng.integers(len(data)))
    return data[:i] + bytes([data[i] ^ (1 << int(rng.integers(8)))]) + data[i + 1:]


def truncate(data, rng):
    """Cut anywhere."""
    return data[:int(rng.integers(len(data)))]


def truncate_in_last_number(data, rng):
    """Cut inside or right behind the last number."""
    end = [m.end() for m in NUMBER.finditer(data[-4000:])][-1]
    return data[:len(data) - min(4000, len(data)) + end - int(rng.integers(0, 4))]


def truncate_at_line(data, rng):
    """Cut behind a line end."""
    ends = [i + 1 for i, b in enumerate(data) if b == 10]
    return data[:one_of(rng, ends[:-1])] if len(ends) > 1 else data[:-1]


def drop_bytes(data, rng):
    """Leave out up to 200 bytes."""
    i = int(rng.integers(len(data)))
    return data[:i] + data[i + int(rng.integers(1, 200)):]


def repeat_bytes(data, rng):
    """Up to 200 bytes twice."""
    i = int(rng.integers(len(data)))
    return data[:i] + data[i:i + int(rng.integers(1, 200))] + data[i:]


def insert_byte(data, rng):
    """A byte that does not belong there."""
    i = int(rng.integers(len(data)))
    return data[:i] + one_of(rng, [b"\0", b"\xff", b"\x1a", b"\xc3", b"\r", b"\n", b"\t", b"\xe2\x80\xa8",
                                   b"\x7f",
                                   b",", b";", b" "]) + data[i:]


def utf16(data, rng):
    """Another encoding."""
    return data.decode("utf-8", "replace").encode("utf-16")


BYTES = (flip_bit, truncate, truncate_in_last_number, truncate_at_line, drop_bytes, repeat_bytes, insert_byte,
         utf16)


# --- text that means the same ---

def crlf(data, rng):
    """Line ends of Windows."""
    return data.replace(b"\n", b"\r\n")


def with_mark(data, rng):
    """A byte-order mark."""
    return b"\xef\xbb\xbf" + data


def blank_end(data, rng):
    """Blank lines at the end."""
    return data + b"\n" * int(rng.integers(1, 4))


SAME = (crlf, with_mark, blank_end)


# --- lines and cells of text ---

def _lines(data):
    return data.split(b"\n")


def change_number(data, rng):
    """A number becomes something else."""
    found = one_of(rng, list(NUMBER.finditer(data)))
    return data[:found.start()] + cell(rng) + data[found.end():]


def change_digit(data, rng):
    """A digit becomes another: the file stays well-formed."""
    found = one_of(rng, list(re.finditer(rb"\d", data)))
    return data[:found.start()] + str(int(rng.integers(10))).encode() + data[found.end():]


def commas(data, rng):
    """Decimal commas everywhere."""
    return re.sub(rb"(?<=\d)\.(?=\d)", b",", data)


def drop_line(data, rng):
    """Without a line."""
    lines = _lines(data)
    del lines[int(rng.integers(len(lines)))]
    return b"\n".join(lines)


def repeat_line(data, rng):
    """A line twice."""
    lines = _lines(data)
    i = int(rng.integers(len(lines)))
    return b"\n".join(lines[:i + 1] + lines[i:])


def swap_lines(data, rng):
    """Two lines exchanged."""
    lines = _lines(data)
    i, j = rng.integers(len(lines), size=2)
    lines[i], lines[j] = lines[j], lines[i]
    return b"\n".join(lines)


def _rows(data):
    "Lines, and indices of those with numbers in more than two cells."
    lines = _lines(data)
    rows = [i for i, line in enumerate(lines) if line.count(b"\t") > 1 and NUMBER.match(line.strip())]
    return lines, rows or [0]


def drop_cell(data, rng):
    """A row loses a cell, with or without a tab at its end instead."""
    lines, rows = _rows(data)
    i = one_of(rng, rows)
    cells = lines[i].split(b"\t")
    del cells[int(rng.integers(len(cells)))]
    lines[i] = b"\t".join(cells) + one_of(rng, [b"", b"\t"])
    return b"\n".join(lines)


def empty_cell(data, rng):
    """A cell is emptied."""
    lines, rows = _rows(data)
    i = one_of(rng, rows)
    cells = lines[i].split(b"\t")
    cells[int(rng.integers(len(cells)))] = one_of(rng, [b"", b" ", b"-", b"nan"])
    lines[i] = b"\t".join(cells)
    return b"\n".join(lines)


def drop_column(data, rng):
    """All rows lose a column, the names do not."""
    lines, rows = _rows(data)
    j = int(rng.integers(max(lines[rows[0]].count(b"\t"), 1)))
    for i in rows:
        cells = lines[i].split(b"\t")
        lines[i] = b"\t".join(cells[:j] + cells[j + 1:])
    return b"\n".join(lines)


def swap_cells(data, rng):
    """Two cells of a row exchanged."""
    lines, rows = _rows(data)
    i = one_of(rng, rows)
    cells = lines[i].split(b"\t")
    a, b = rng.integers(len(cells), size=2)
    cells[a], cells[b] = cells[b], cells[a]
    lines[i] = b"\t".join(cells)
    return b"\n".join(lines)


def change_word(data, rng):
    """A word becomes another of the file, or is cut."""
    words = list(re.finditer(rb"[A-Za-z_]{3,}", data))
    found = one_of(rng, words)
    new = one_of(rng, [one_of(rng, words)[0], found[0][:-1], found[0].upper(), b"", found[0] + b"_x"])
    return data[:found.start()] + new + data[found.end():]


TEXT = (change_number, change_digit, commas, drop_line, repeat_line, swap_lines, change_word)
TABLE = (drop_cell, empty_cell, drop_column, swap_cells)


# --- XML ---

def _elements(data):
    return list(re.finditer(rb"<(\w+)[^<>]*>([^<]*)</\1>", data))


def xml_text(data, rng):
    """The text of an element becomes something else."""
    found = one_of(rng, _elements(data))
    new = one_of(rng, [cell(rng), b"", b"0", b"-1", b"0 0 0", b"1 2", b"1e6", b"nan 0 0", found[2] + b" 1",
                       b"abc"])
    return data[:found.start(2)] + new + data[found.end(2):]


def xml_drop(data, rng):
    """Without an element."""
    found = one_of(rng, _elements(data))
    return data[:found.start()] + data[found.end():]


def xml_repeat(data, rng):
    """An element twice."""
    found = one_of(rng, _elements(data))
    return data[:found.end()] + found[0] + data[found.end():]


def xml_tag(data, rng):
    """A tag gets another name."""
    tags = sorted(set(re.findall(rb"<(\w+)", data)))
    old, new = one_of(rng, tags), one_of(rng, tags + [b"x"])
    return re.sub(rb"(</?)" + old + rb"\b", rb"\1" + new, data)


def xml_name(data, rng):
    """A name attribute becomes another one's, or vanishes."""
    names = list(re.finditer(rb' name="([^"]*)"', data))
    found = one_of(rng, names)
    new = one_of(rng, [one_of(rng, names)[0], b"", b' name=""', b' name="&#0;"', b' name="a" name="b"'])
    return data[:found.start()] + new + data[found.end():]


def xml_socket(data, rng):
    """A reference points to another frame."""
    found = one_of(rng, [e for e in _elements(data) if e[1].startswith(b"socket")])
    new = one_of(rng, [one_of(rng, [e for e in _elements(data) if e[1].startswith(b"socket")])[2],
                       b"/ground", b"",
                       b"../..", b"/bodyset/none"])
    return data[:found.start(2)] + new + data[found.end(2):]


def xml_scale(data, rng):
    """All numbers of one tag times a factor."""
    tag = one_of(rng, [b"mass", b"inertia", b"translation", b"range", b"mass_center", b"axis"])
    factor = one_of(rng, [1000.0, 0.001, -1.0, 0.0, 100.0, 57.3])

    def scaled(found):
        cells = (b"%.9g" % (float(c) * factor) for c in found[1].split())
        return b"<" + tag + b">" + b" ".join(cells) + b"</"
    return re.sub(b"<" + tag + rb">([^<]*)</", scaled, data)


def xml_prolog(data, rng):
    """Another declaration: encodings, entities, a DTD."""
    new = one_of(rng, [b'<?xml version="1.0" encoding="klingon"?>',
                       b'<?xml version="1.0" encoding="utf-16"?>',
                       b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "b">]>', b"", b'<?xml version="9"?>',
                       b'<?xml version="1.0" encoding="shift_jis"?>',
                       b'<?xml version="1.0" encoding="utf-7"?>',
                       b'<?xml version="1.0"?><!DOCTYPE a SYSTEM "file:///etc/passwd">'])
    return new + data.partition(b"?>")[2]


XML = (xml_text, xml_text, xml_drop, xml_repeat, xml_tag, xml_name, xml_socket, xml_scale, xml_prolog)


# --- YAML ---

SCALARS = ["0100", "1:30", "070", "1_000", "0x1F", "0o17", "0b11", "yes", "on", "~", "null", ".inf", ".nan",
           "1e3",
           "1E400", "+.5", "-", "[]", "{}", "[1, [2]]", "{a: 1}", "'070'", '"1:30"', "!!int '7'",
           "!!python/name:os",
           "&a 1", "*a", "2026-01-31", "080", "1.5e", "30 deg", "30 kg", "deg 30", "40 %", "-40 %", "١٢",
           "12,5",
           "|\n  text", ">", "@", "`", "%", "? x", "true", "99999999999999999999", "1e-400", "'", '"',
           "0.5 # c"]


def yaml_scalar(data, rng):
    """A value becomes another."""
    values = list(re.finditer(rb"(?<=: )[^,}\n#]+", data))
    found = one_of(rng, values)
    return data[:found.start()] + one_of(rng, SCALARS).encode() + data[found.end():]


def yaml_key(data, rng):
    """A key becomes another, or something that is no word."""
    keys = list(re.finditer(rb"\w+(?=:)", data))
    found = one_of(rng, keys)
    new = one_of(rng, [one_of(rng, keys)[0], b"[1, 2]", b"{a: b}", b"true", b"1", b"~", b"<<", b"'x'", b""])
    return data[:found.start()] + new + data[found.end():]


def yaml_deep(data, rng):
    """Nested deeper than anybody writes."""
    n = one_of(rng, [10, 19, 21, 100, 5000])
    return data + b"\nx: " + b"[" * n + b"]" * n + b"\n"


def yaml_bomb(data, rng):
    """Aliases of aliases."""
    levels = b"\n".join(b"%c: &%c [*%c, *%c]" % (b, b, a, a) for a, b in zip(b"abcdefghi", b"bcdefghij"))
    return b"a: &a [1, 1]\n" + levels + b"\n" + data


def yaml_many(data, rng):
    """More entries than a request has."""
    entries = [line for line in data.split(b"\n") if line.strip().startswith(b"- ")]
    line = entries[0] if entries else b"- {kind: asymmetry}"
    return data + (line + b"\n") * int(rng.integers(100, 3000))


def indent(data, rng):
    """A line moves."""
    lines = _lines(data)
    i = int(rng.integers(len(lines)))
    lines[i] = one_of(rng, [b" ", b"   ", b"\t", b"- "]) + lines[i]
    return b"\n".join(lines)


YAML = (yaml_scalar,) * 6 + (yaml_key, yaml_key, yaml_deep, yaml_bomb, yaml_many, indent)


# --- JSON ---

VALUES = [None, True, 0, -1, 1e308, 10**30, "", "x", [], {}, [1], {"a": 1}, [[]], "nan", [None], "../../x",
          [[[[]]]], 0.5, {"constraints": 1}, ["a", 1]]


def _paths(value, at=()):
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from _paths(item, (*at, key))


def json_value(data, rng):
    """A value of a record becomes another."""
    record = json.loads(data)
    *way, last = one_of(rng, list(_paths(record))[1:])
    place = record
    for key in way:
        place = place[key]
    place[last] = one_of(rng, VALUES)
    return json.dumps(record).encode()


def json_drop(data, rng):
    """A field is left out."""
    record = json.loads(data)
    *way, last = one_of(rng, list(_paths(record))[1:])
    place = record
    for key in way:
        place = place[key]
    del place[last]
    return json.dumps(record).encode()


def json_whole(data, rng):
    """Another document, or one that is no JSON."""
    return one_of(rng, [b"[]", b"3", b"null", b'"x"', b"{}", b"", b"[" * 100_000, b'{"a": NaN}',
                        b'{"a": Infinity}',
                        b'{"a": 1, "a": 2}', b'{"a": ' * 2000, b"{'a': 1}", b'{"a": 1,}', b"\xff\xfe{}",
                        b'{"a": ' + b"9" * 5000 + b"}"])


JSON = (json_value,) * 5 + (json_drop, json_drop, json_whole)


# --- arrays ---

def _archive(arrays):
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def _changed(array, rng):
    "An array with other numbers, another type or another shape."
    ways = [lambda a: a[:-1], lambda a: a[None], lambda a: np.concatenate([a, a]), lambda a: a[..., :0],
            lambda a: a.astype(complex), lambda a: a.astype(str), lambda a: a.astype("f2"), lambda a: a * 100,
            lambda a: -a, lambda a: a * np.nan, lambda a: a * np.inf, lambda a: a.astype("i8"),
            lambda a: a.ravel(),
            lambda a: a[::-1], lambda a: a * 1e300, lambda a: np.zeros_like(a), lambda a: a.astype(">f8"),
            lambda a: a.astype("u1"), lambda a: a.T, lambda a: a.astype("M8[s]"),
            lambda a: np.asfortranarray(a),
            lambda a: a.astype("S4"), lambda a: a.astype("V8"), lambda a: a.reshape(-1)[0]]
    with np.errstate(all="ignore"):
        return one_of(rng, ways)(array)


def array_changed(data, rng):
    """One array is another."""
    with np.load(io.BytesIO(data)) as archive:
        arrays = dict(archive)
    key = one_of(rng, list(arrays))
    try:
        arrays[key] = _changed(arrays[key], rng)
    except (TypeError, ValueError, IndexError):
        arrays[key] = np.array("x")
    return _archive(arrays)


def array_cell(data, rng):
    """One entry of an array is another."""
    with np.load(io.BytesIO(data)) as archive:
        arrays = dict(archive)
    key = one_of(rng, [k for k, a in arrays.items() if a.size])
    array = np.array(arrays[key])
    flat = array.reshape(-1)
    i = int(rng.integers(flat.size))
    if array.dtype.kind == "b":
        flat[i] = not flat[i]
    elif array.dtype.kind == "U":
        flat[i] = one_of(rng, [str(flat[0]), "", "train", "val", "x"])
    else:
        flat[i] = one_of(rng, [np.nan, np.inf, -1.0, 1e30, 0.0, 1.5, 100.0])if array.dtype.kind == "f" else 7
    return _archive(arrays | {key: array})


def array_dropped(data, rng):
    """Without an array, or with another one."""
    with np.load(io.BytesIO(data)) as archive:
        arrays = dict(archive)
    key = one_of(rng, list(arrays))
    kept = {k: a for k, a in arrays.items() if k != key}
    return _archive(one_of(rng, [kept, kept | {key + "x": arrays[key]}, arrays | {"extra": np.zeros(3)}, {}]))


def array_header(data, rng):
    """The header of an array promises more than there is, or other things."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        chosen = one_of(rng, names)
        for name in names:
            content = old.read(name)
            if name == chosen:
                shape = one_of(rng, [b"(99999999999,)", b"(-1,)", b"(1, 2, 3)", b"('a',)", b"()",
                                     b"(" * 3000])
                header = b"{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + b", }\n"
                content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content[128:]
            new.writestr(name, content)
    return out.getvalue()


def zip_bomb(data, rng):
    """Zeros, a hundred million of them."""
    out = io.BytesIO()
    with (zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive,
          archive.open("kinematics.npy", "w") as file):
        for _ in range(100):
            file.write(bytes(1_000_000))
    return out.getvalue()


NPZ = (array_changed,) * 4 + (array_cell,) * 3 + (array_dropped, array_header)


# --- safetensors ---

def _parts(data):
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8:8 + length]), data[8 + length:]


def _joined(header, body) -> bytes:
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return len(text).to_bytes(8, "little") + text + body


def tensor_header(data, rng):
    """A tensor's type, shape or place in the header is another."""
    header, body = _parts(data)
    entry = header[one_of(rng, [k for k in header if k != "__metadata__"])]
    key, values = one_of(rng, [("dtype", ["F64", "F16", "BF16", "I32", "U8", "F8_E4M3", "X"]),
                               ("shape", [[1], [10**12], [-1], [], "x", [1] * 40]),
                               ("data_offsets", [[0, 0], [0, 10**9], [8, 4], None])])
    entry[key] = one_of(rng, values)
    return _joined(header, body)


def tensor_meta(data, rng):
    """What the weights say of themselves is another."""
    header, body = _parts(data)
    said = header["__metadata__"]
    new = one_of(rng, [json_value, json_value, json_value, json_drop, json_whole])(said["bige"].encode(), rng)
    said["bige"] = new.decode("latin-1")
    return _joined(header, body)


def tensor_size(data, rng):
    """A size of the configuration is another."""
    header, body = _parts(data)
    said = json.loads(header["__metadata__"]["bige"])
    key = one_of(rng, list(said["config"]))
    said["config"][key] = one_of(rng, [10**9, 10**5, 0, -1, 1, 3, True, 1.5, "8", [1, 2, 3], [10**6] * 3,
                                       None])
    header["__metadata__"]["bige"] = json.dumps(said)
    return _joined(header, body)


def tensor_numbers(data, rng):
    """A tensor's numbers are others."""
    header, body = _parts(data)
    entry = header[one_of(rng, [k for k in header if k != "__metadata__"])]
    start, end = entry["data_offsets"]
    number = one_of(rng, [np.nan, np.inf, 1.0, 1e38])
    new = np.full((end - start) // 4, number, "<f4").tobytes()
    return _joined(header, body[:start] + new + body[start + len(new):])


def tensor_names(data, rng):
    """A tensor has another name, or is missing, or comes twice."""
    header, body = _parts(data)
    key = one_of(rng, [k for k in header if k != "__metadata__"])
    entry = header.pop(key)
    if rng.integers(3):
        header[one_of(rng, [key + "x", "", "mean", "../x", key.upper()])] = entry
    return _joined(header, body)


def tensor_kind(data, rng):
    """All tensors of another type."""
    import torch
    from safetensors.torch import load, save
    header, _ = _parts(data)
    kind = one_of(rng, [torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.bool, torch.uint8])
    tensors = load(data)
    chosen = one_of(rng, [None, *tensors])
    changed = {k: t.to(kind) if chosen in (None, k) else t for k, t in tensors.items()}
    return save(changed, header["__metadata__"])


SAFETENSORS = (tensor_header, tensor_meta, tensor_meta, tensor_size, tensor_size, tensor_numbers,
               tensor_names,
               tensor_kind)
