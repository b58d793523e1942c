"""mime_table.py INPUT OUTPUT - makes the table of mime.c from a file in the format of /etc/mime.types.

Runs when loom is built. The output is a C header with one line for each extension, in lower case and sorted by bytes,
and with the whole value of Content-Type. Where an extension is named more than once its first type counts, and
OVERRIDES counts before all: these are the types of the web, which have to be right whatever the input says.
"""

import sys

OVERRIDES = {
    # What pages are made of; also the floor under a poor input.
    "html": "text/html", "htm": "text/html", "xhtml": "application/xhtml+xml", "css": "text/css",
    "js": "text/javascript", "mjs": "text/javascript", "cjs": "text/javascript",  # RFC 9239
    "json": "application/json", "map": "application/json", "webmanifest": "application/manifest+json",
    "jsonld": "application/ld+json", "geojson": "application/geo+json", "ndjson": "application/x-ndjson",
    "wasm": "application/wasm",  # anything else, and browsers refuse to compile while it arrives
    "xml": "application/xml", "rss": "application/rss+xml", "atom": "application/atom+xml",
    "gpx": "application/gpx+xml", "yaml": "application/yaml", "yml": "application/yaml",  # RFC 9512
    "toml": "application/toml", "csv": "text/csv", "md": "text/markdown", "vtt": "text/vtt",
    "txt": "text/plain", "log": "text/plain", "conf": "text/plain", "ini": "text/plain",
    "pdf": "application/pdf", "zip": "application/zip", "gz": "application/gzip",
    # Images, fonts, media.
    "svg": "image/svg+xml", "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif",
    "webp": "image/webp", "avif": "image/avif", "apng": "image/apng", "jxl": "image/jxl",
    "ico": "image/vnd.microsoft.icon", "cur": "image/vnd.microsoft.icon",
    "woff": "font/woff", "woff2": "font/woff2", "ttf": "font/ttf", "otf": "font/otf",
    "mp3": "audio/mpeg", "opus": "audio/ogg", "ogg": "audio/ogg", "wav": "audio/wav",
    "mp4": "video/mp4", "webm": "video/webm", "m3u8": "application/vnd.apple.mpegurl",
    # Debian's file gives .ts to a translator's tool; on the web it is a segment of HTTP Live Streaming.
    "ts": "video/mp2t",
    # Compressed, and sent without Content-Encoding: image/svg+xml would be a broken image.
    "svgz": "application/gzip",
    # Debian: application/rls-services+xml; far more often the source of a program.
    "rs": "text/plain",
}

TEXTUAL = {
    "application/json", "application/x-ndjson", "application/javascript", "application/xml", "application/xml-dtd",
    "application/yaml", "application/toml", "application/sql", "application/x-sh", "application/x-csh",
    "application/x-tcl", "image/svg+xml",
}


def content_type(media_type):
    """The value of Content-Type: textual types are UTF-8."""
    textual = media_type.startswith("text/") or media_type in TEXTUAL or (
        media_type.startswith("application/") and media_type.endswith(("+json", "+xml")))
    return media_type + "; charset=utf-8" if textual else media_type


def read_table(path):
    table = dict(OVERRIDES)
    with open(path, encoding="ascii", errors="replace") as lines:
        for line in lines:
            media_type, *extensions = line.split("#", 1)[0].split() or [""]
            for extension in extensions:
                # An extension with a dot could never be found by the last one of a name; the others are not of this
                # world, and would need escapes in C.
                if extension.replace("-", "").replace("_", "").replace("+", "").isalnum() and extension.isascii():
                    table.setdefault(extension.lower(), media_type)
    return table


def main():
    source, target = sys.argv[1:]
    table = read_table(source)
    longest = max(len(extension) for extension in table)
    with open(target, "w", encoding="ascii") as out:
        out.write("/* Made by mime_table.py. */\n")
        out.write(f"#define MIME_EXTENSION_MAX {longest}\n\n")
        out.write("static const struct mime_entry mime_table[] = {\n")
        for extension in sorted(table):
            out.write(f'\t{{"{extension}", "{content_type(table[extension])}"}},\n')
        out.write("};\n")


if __name__ == "__main__":
    main()
