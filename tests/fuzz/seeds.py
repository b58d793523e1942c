#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets, hand-made inputs with names that say what they are, to tests/fuzz/corpus/NAME.

Inputs with other names, which ci/fuzz --minimize has added, are left alone. For compress it needs the programs gzip,
brotli and zstd.
"""
import pathlib
import subprocess
import zlib

HERE = pathlib.Path(__file__).resolve().parent / "corpus"
HOST = b"Host: a\r\n"
DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
EARLIER = b"Sun, 06 Nov 1994 08:49:36 GMT"
TAG = b'"0123456789abcdefghijkl"'

# Of "/s", and of "/c" as it is and in gzip, on the site that fuzz_conn.c serves (site.c).
TAG_S, TAG_C, TAG_C_GZIP = b'"66Bqz447IIe-Q0wlRKuHxQ"', b'"5IlVEY6VqY01vN37yjH__w"', b'"ZZkN3yogWn94G59UR5d9pQ"'


def get(target=b"/", *lines, method=b"GET", version=b"1.1", host=HOST, body=b""):
    return method + b" " + target + b" HTTP/" + version + b"\r\n" + host + b"".join(
        line + b"\r\n" for line in lines) + b"\r\n" + body


def old(target=b"/", *lines, **more):
    return get(target, *lines, version=b"1.0", host=b"", **more)


CHUNKED = b"Transfer-Encoding: chunked"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"

# What stands in requests alone, for both readers of them.
MESSAGES = {
    "get": get(),
    "get-absolute": get(b"http://a.b:80/s?x"),
    "get-old": old(),
    "get-old-keep-alive": old(b"/", b"Connection: keep-alive") + old(b"/s"),
    "get-1.7": get(version=b"1.7"),
    "head": get(method=b"HEAD") + get(b"/s", method=b"HEAD"),
    "options": get(b"*", method=b"OPTIONS") + get(b"/s", method=b"OPTIONS"),
    "connect": get(b"a:80", method=b"CONNECT"),
    "trace": get(method=b"TRACE"),
    "method-unknown": get(method=b"FROB"),
    "method-lower-case": get(method=b"get"),
    "method-m-search": get(method=b"M-SEARCH"),
    "http2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version-2": get(version=b"2.0"),
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "http-0.9": b"GET /\r\n",
    "pipelined": get() + get(b"/s") + get(b"/d") + get(b"/nothing"),
    "pipelined-close": get(b"/s", b"Connection: close") + get(),
    "empty-line-before": b"\r\n" + get() + b"\r\n" + get(),
    "empty-lines-before": get() + b"\r\n\r\n" + get(),
    "empty-line-and-nul": b"\r\n\0" + get(),
    "cr-alone": get() + b"\rGET",
    "half": get(b"/s")[:-5],
    "half-line": b"GET /s HT",
    "bare-lf": get().replace(b"\r\n", b"\n"),
    "bare-cr": get(b"/", b"X: a\rY: b"),
    "folded": get(b"/", b"X: a", b" b"),
    "space-before-colon": get(host=b"Host : a\r\n"),
    "two-spaces": get(b" /"),
    "name-empty": get(b"/", b": x"),
    "name-without-colon": get(b"/", b"x"),
    "value-empty": get(b"/", b"X:", b"Y: \t "),
    "value-control": get(b"/", b"X: a\x01"),
    "value-high": get(b"/", b"X: \xff\x80"),
    "nul": get(b"/", b"X: a\0b"),
    "host-missing": get(host=b""),
    "host-twice": get(host=HOST + HOST),
    "host-empty": get(host=b"Host:\r\n"),
    "host-ipv6": get(host=b"Host: [::ffff:127.0.0.1]:8080\r\n"),
    "host-bad": get(host=b"Host: a/b\r\n"),
    "length": get(b"/s", b"Content-Length: 5", method=b"POST", body=b"hello") + get(),
    "length-0": get(b"/s", b"Content-Length: 0", method=b"PUT") + get(),
    "length-of-get": get(b"/s", b"Content-Length: 5", body=b"hello") + get(b"/s"),
    "length-half": get(b"/s", b"Content-Length: 5", method=b"POST", body=b"hel"),
    "length-too-large": get(b"/s", b"Content-Length: 501", method=b"POST", body=b"hello"),
    "length-overflows": get(b"/s", b"Content-Length: 18446744073709551621", method=b"POST", body=b"hello"),
    "length-list": get(b"/s", b"Content-Length: 5, 5", method=b"POST", body=b"hello"),
    "length-twice": get(b"/s", b"Content-Length: 5", b"Content-Length: 5", method=b"POST", body=b"hello"),
    "length-signed": get(b"/s", b"Content-Length: +5", method=b"POST", body=b"hello"),
    "length-empty": get(b"/s", b"Content-Length:", method=b"POST"),
    "chunked": get(b"/s", CHUNKED, method=b"POST", body=HELLO) + get(),
    "chunked-trailers": get(b"/s", CHUNKED, method=b"POST", body=b"1;x=y\r\na\r\n0\r\nA: b\r\nC:\r\n\r\n") + get(),
    "chunked-too-large": get(b"/s", CHUNKED, method=b"POST", body=b"1f5\r\n"),
    "chunked-half": get(b"/s", CHUNKED, method=b"POST", body=b"5\r\nhel"),
    "chunked-bad": get(b"/s", CHUNKED, method=b"POST", body=b"5\nhello\n0\n\n"),
    "chunked-and-length": get(b"/s", CHUNKED, b"Content-Length: 5", method=b"POST", body=HELLO),
    "chunked-old": old(b"/s", CHUNKED, b"Connection: keep-alive", method=b"POST", body=HELLO),
    "chunked-twice": get(b"/s", CHUNKED, CHUNKED, method=b"POST", body=HELLO),
    "coding-unknown": get(b"/s", b"Transfer-Encoding: gzip, chunked", method=b"POST", body=HELLO),
    "coding-not-chunked": get(b"/s", b"Transfer-Encoding: gzip", method=b"POST", body=HELLO),
    "coding-parameters": get(b"/s", b"Transfer-Encoding: chunked;q=1", method=b"POST", body=HELLO),
    "expect-continue": get(b"/s", b"Expect: 100-continue", b"Content-Length: 5", method=b"POST", body=b"hello"),
    "expect-continue-no-body": get(b"/s", b"Expect: 100-continue") + get(),
    "expect-other": get(b"/s", b"Expect: tea") + get(),
    "upgrade": get(b"/s", b"Connection: upgrade", b"Upgrade: h2c", b"HTTP2-Settings: AAA") + get(b"/s"),
    "connection-options": get(b"/s", b"Connection: x, Close ,keep-alive"),
    "line-too-long": get(b"/" + 310 * b"a"),
    "head-too-long": get(b"/", b"X: " + 1010 * b"a"),
    "fields-too-many": get(b"/", *(14 * [b"A: b"])),
}

CONN = {
    "files": get(b"/") + get(b"/s") + get(b"/e") + get(b"/c") + get(b"/l"),
    "files-around-the-bounds": get(b"/x") + get(b"/y") + get(b"/b") + get(b"/d/"),
    "names-encoded": get(b"/a%20b") + get(b"/%25") + get(b"/%73"),
    "dots": get(b"/x/../s") + get(b"//s") + get(b"/./%2e/s") + get(b"/../s"),
    "slash-encoded": get(b"/d%2f"),
    "redirect": get(b"/d") + get(b"/d?x=y&z=%0d%0a") + get(b"/d%20e") + get(b"/d/%c3%a9%3f?q") + get(b"//d?//evil"),
    "head-of-all": b"".join(get(path, method=b"HEAD") for path in [b"/", b"/e", b"/l", b"/d", b"/nothing"]),
    "variants": b"".join(get(b"/l", b"Accept-Encoding: " + value) for value in
                         [b"gzip", b"br", b"zstd", b"gzip, br, zstd", b"*", b"identity", b""]),
    "variants-refused": get(b"/c", b"Accept-Encoding: identity;q=0, gzip;q=0")
                        + get(b"/c", b"Accept-Encoding: *;q=0") + get(b"/s", b"Accept-Encoding: identity;q=0"),
    "variants-lines": get(b"/c", b"Accept-Encoding: gzip;q=0.5", b"accept-encoding: br"),
    "range": get(b"/b", b"Range: bytes=0-9") + get(b"/b", b"Range: bytes=-5000") + get(b"/s", b"Range: bytes=16-"),
    "range-coded": get(b"/l", b"Accept-Encoding: gzip", b"Range: bytes=0-4200"),
    "ranges": get(b"/b", b"Range: bytes=0-9,100-109,29000-") + get(b"/l", b"Range: bytes=-1,0-5000"),
    "ranges-many": get(b"/b", b"Range: bytes=" + b",".join(b"%d-%d" % (i * 900, i * 900 + 500) for i in range(16))),
    "ranges-twice": 3 * get(b"/b", b"Range: bytes=0-0,1000-1001,2000-2002,3000-3300"),
    "range-unsatisfiable": get(b"/s", b"Range: bytes=17-") + get(b"/e", b"Range: bytes=0-"),
    "range-of-head": get(b"/s", b"Range: bytes=0-0", method=b"HEAD"),
    "if-range": get(b"/s", b"Range: bytes=0-0", b"If-Range: " + DATE)
                + get(b"/s", b"Range: bytes=0-0", b'If-Range: "x"'),
    "if-none-match": get(b"/s", b"If-None-Match: *") + get(b"/c", b'If-None-Match: "x", W/"y"'),
    "if-none-match-tags": get(b"/s", b"If-None-Match: " + TAG_S) + get(b"/c", b"If-None-Match: W/" + TAG_C)
                          + get(b"/c", b"Accept-Encoding: gzip", b"If-None-Match: " + TAG_C + b", " + TAG_C_GZIP),
    "if-match-tag": get(b"/s", b"If-Match: " + TAG_S) + get(b"/s", b"If-Match: W/" + TAG_S),
    "if-range-tag": get(b"/c", b"If-Range: " + TAG_C, b"Range: bytes=0-0,1000-1001")
                    + get(b"/c", b"If-Range: " + TAG_C_GZIP, b"Range: bytes=0-0"),
    "if-match": get(b"/s", b"If-Match: *") + get(b"/s", b'If-Match: "x"') + get(b"/e", b"If-Match: *", method=b"HEAD"),
    "if-modified": get(b"/s", b"If-Modified-Since: " + DATE) + get(b"/s", b"If-Modified-Since: " + EARLIER),
    "if-unmodified": get(b"/s", b"If-Unmodified-Since: " + EARLIER) + get(b"/g", b"If-Unmodified-Since: " + EARLIER),
    "requests-too-many": 24 * old(b"/s", b"Connection: keep-alive") + old(b"/s"),
    "pipelined-large": 8 * get(b"/b"),
    "streamed": get(b"/f") + get(b"/s") + get(b"/t") + get(b"/f", method=b"HEAD") + get(b"/t", b"Accept-Encoding: gzip"),
    "streamed-range": get(b"/f", b"Range: bytes=19999-") + get(b"/t", b"Range: bytes=1-1") + get(b"/t", b"Range: bytes=3-"),
    "streamed-ranges": get(b"/s") + get(b"/f", b"Range: bytes=0-9,100-109,19000-") + get(b"/s") + get(b"/f")
                       + get(b"/f", b"Range: bytes=-1,0-5000", b"If-Range: " + DATE),
    "streamed-ranges-many": get(b"/f", b"Range: bytes=" + b",".join(b"%d-%d" % (i * 900, i * 900 + 500) for i in range(16)))
                            + get(b"/d"),
    "streamed-conditions": get(b"/f", b"If-None-Match: *") + get(b"/t", b'If-Match: "x"'),
    "streamed-last": get(b"/t", b"Connection: close") + get(b"/s"),
    "pipelined-streamed": 8 * get(b"/t") + 4 * get(b"/f"),
    "pipelined-small": 20 * get(b"/s"),
}

TARGETS = [
    b"/", b"/a", b"/a/", b"/a/b.c?d=e", b"/?", b"//a//b", b"/./a/../b/.", b"/a/..", b"/..", b"/a/../..", b"/%2e%2e/a",
    b"/.%2e", b"/%61", b"/%zz", b"/%", b"/%2f", b"/%00", b"/%0d%0aA:b", b"/%25", b"/%5c", b"/\\", b"/%c0%ae", b"/...",
    b"/.a/..b", b"/a#b", b"/a?b#c", b"/[1]{2}|3^`", b"/a b", b"*", b"http://a", b"http://a/b", b"HTTPS://a:80/b?c",
    b"http://a?b", b"http:///b", b"http://u@a/", b"http://[::1]:80/b", b"a:80", b"[::1]:443", b"a:", b":80", b"[::1]",
    b"a", b"http:/a", b"//a/../../b", b"/a//../b", b"/%2F..", b"/a/%2e/", b"/\xc3\xa9",
]

AUTHORITIES = [
    b"", b"a", b"a.b:80", b"a:", b":80", b"127.0.0.1", b"256.0.0.1", b"[::1]", b"[::1]:80", b"[::]",
    b"[1:2:3:4:5:6:7:8]", b"[1:2:3:4:5:6:7::]", b"[1::2::3]", b"[::ffff:1.2.3.4]", b"[::1.2.3.256]", b"[12345::]",
    b"[:1]", b"[1:]", b"[v1.a:b]", b"[V.a]", b"[fe80::1%25eth0]", b"[::1", b"[]", b"%41", b"%4", b"%zz", b"u@a",
    b"a/b", b"a:8 0", b"!$&'()*+,;=-._~",
    b"\xc3\xa9", b"[1:2:3:4:5:6:1.2.3.4]:1",
]

ENCODINGS = {
    "usual": b"d321gzip, deflate, br, zstd",
    "none": b"d321",
    "weights": b"d321gzip;q=0.5, br;q=0.25,zstd;q=0.125",
    "identity-refused": b"d\xff\xff\xffidentity;q=0",
    "star": b"d321*;q=0.1, gzip;q=0",
    "star-zero": b"d321*;q=0",
    "lines": b"d321gzip;q=0\nbr\n*",
    "malformed": b"d321gzip;q=2, br;q=, zstd;x, ;q=1, gzip q=1",
    "spaces": b"d321 gzip \t; \tq=0.3 ,, br\t,",
    "decimals": b"d321gzip;q=0.999,br;q=0.9999,zstd;q=1.000,x-gzip;q=1.001",
    "case": b"d321GZip;Q=0.5, X-GZIP, IDENTITY;q=0.001",
    "ties": b"aaaagzip,br,zstd,identity",
}

RANGES = {
    "one": b"1000\nbytes=0-99", "open": b"1000\nbytes=500-", "suffix": b"1000\nbytes=-100",
    "suffix-longer": b"1000\nbytes=-5000", "suffix-zero": b"1000\nbytes=-0", "beyond": b"1000\nbytes=1000-",
    "several": b"1000\nbytes=0-9, 200-209,-10", "joined": b"1000\nbytes=500-599,0-99,100-419",
    "gap": b"1000\nbytes=0-9,90-99,300-309,389-399", "overlap": b"1000\nbytes=0-99,50-149,400-",
    "whole": b"1000\nbytes=0-499,600-", "empty": b"0\nbytes=0-", "empty-suffix": b"0\nbytes=-1",
    "malformed": b"1000\nbytes=5-1", "unit": b"1000\nlines=0-1", "case": b"1000\nBytes=0-1",
    "huge": b"9223372036854775807\nbytes=0-0,9223372036854775806-18446744073709551616",
    "many": b"100000\nbytes=" + b",".join(b"%d-%d" % (i * 1000, i * 1000) for i in range(17)),
    "many-joined": b"100000\nbytes=" + b",".join(b"%d-%d" % (i, i) for i in range(64)),
    "too-many": b"100000\nbytes=" + b",".join(b"%d-%d" % (i, i) for i in range(65)),
    "backwards": b"100000\nbytes=" + b",".join(b"%d-%d" % (i * 80, i * 80) for i in range(63, -1, -1)),
    "spaces": b"1000\nbytes= ,0-1 ,\t, 200-201,",
}

DATES = {
    "imf": DATE, "rfc850": b"Sunday, 06-Nov-94 08:49:37 GMT", "asctime": b"Sun Nov  6 08:49:37 1994",
    "asctime-two-digits": b"Wed Nov 16 08:49:37 1994", "epoch": b"Thu, 01 Jan 1970 00:00:00 GMT",
    "leap-day": b"Tue, 29 Feb 2000 12:00:00 GMT", "no-leap-day": b"Thu, 29 Feb 1900 12:00:00 GMT",
    "leap-second": b"Sat, 31 Dec 2016 23:59:60 GMT", "weekday-wrong": b"Mon, 06 Nov 1994 08:49:37 GMT",
    "last": b"Fri, 31 Dec 9999 23:59:59 GMT", "first": b"Mon, 01 Jan 0001 00:00:00 GMT",
    "century": b"Wednesday, 06-Nov-75 08:49:37 GMT", "zone": b"Sun, 06 Nov 1994 08:49:37 UTC",
    "hour-24": b"Sun, 06 Nov 1994 24:00:00 GMT", "short": b"Sun, 06 Nov 1994", "nothing": b"",
    "year-10000": b"Fri, 31 Dec 9999 23:59:60 GMT",
}

CONDITIONS = {
    "nothing": b"",
    "none-match": b"If-None-Match: " + TAG,
    "none-match-weak": b"If-None-Match: W/" + TAG,
    "none-match-star": b"If-None-Match: *",
    "none-match-list": b'If-None-Match: "x", ,W/"y",\t' + TAG,
    "none-match-lines": b'If-None-Match: "x"\r\nX: y\r\nif-none-match:' + TAG + b"\r\nIF-NONE-MATCH: *",
    "none-match-malformed": b'If-None-Match: "x" y, ' + TAG,
    "match": b'If-Match: "ab"',
    "match-weak": b'If-Match: W/"ab", "cd"',
    "match-star": b"If-Match: *",
    "match-lines": b'If-Match: W/"ab"\r\nIf-Match: "ab"',
    "modified": b"If-Modified-Since: " + DATE,
    "modified-twice": b"If-Modified-Since: " + DATE + b"\r\nIf-Modified-Since: " + DATE,
    "unmodified": b"If-Unmodified-Since: " + EARLIER,
    "unmodified-and-match": b"If-Unmodified-Since: " + EARLIER + b'\r\nIf-Match: "ab"',
    "range-tag": b"If-Range: " + TAG + b"\r\nRange: bytes=0-1",
    "range-weak": b"If-Range: W/" + TAG,
    "range-date": b"If-Range: " + DATE,
    "range-date-other": b"If-Range: " + EARLIER,
    "all": b"If-Match: *\r\nIf-None-Match: " + TAG + b"\r\nIf-Range: " + DATE + b"\r\nAccept-Encoding: br\r\n"
           b"Accept-Encoding:\r\nRange: bytes=0-1\r\nRange: bytes=2-3",
    "names-alike": b"If-Matching: x\r\nX-If-Match: y\r\nIf-Match:*",
    "values-empty": b"If-Match:\r\nIf-None-Match: \t \r\nIf-Range:\r\nRange:",
}

BODIES = {
    "hello": HELLO, "empty": b"0\r\n\r\n", "extension": b"5;a=b;c=\"d\"\r\nhello\r\n0\r\n\r\n",
    "trailers": b"0\r\nA: b\r\nC:\r\n\r\n", "leading-zeros": b"00005\r\nhello\r\n000\r\n\r\n",
    "upper-case": b"A\r\n0123456789\r\n0\r\n\r\n", "followed": HELLO + b"GET / HTTP/1.1\r\n",
    "bare-lf": b"5\nhello\n0\n\n", "size-missing": b"\r\nhello", "size-signed": b"-1\r\n", "size-0x": b"0x5\r\nhello",
    "size-too-large": b"3e9\r\n", "size-largest": b"3e8\r\n" + 1000 * b"a" + b"\r\n0\r\n\r\n",
    "size-overflows": b"10000000000000005\r\nhello\r\n", "space": b"5 \r\nhello\r\n0\r\n\r\n",
    "space-extension": b"5 \t;a\r\nhello\r\n0\r\n\r\n", "data-longer": b"4\r\nhello\r\n0\r\n\r\n",
    "data-shorter": b"6\r\nhello\r\n0\r\n\r\n", "half": b"5\r\nhel", "trailer-folded": b"0\r\nA: b\r\n c\r\n\r\n",
    "trailer-without-colon": b"0\r\nA\r\n\r\n",
}

PAGES = {
    "usual": b'<!doctype html><html><head><title>a</title><link rel="stylesheet" href="/a.css"><link rel=icon href=b.svg>'
             b'<script type="module" src="./c.js?v=1"></script></head><body><img src="../d.png" alt="">\n',
    "cases": b"<SCRIPT SRC=A></Script><IMG sRc='b'><LINK REL='a StyleSheet' HREF=\"c\">",
    "elsewhere": b"<img src=//h/a><img src=https://h/a><img src=data:,a><img src='\\\\h'><img src='#a'><img src='?a'>",
    "dots": b"<img src=../../a/./b/../c><img src=%2e%2E/.%2e/d><img src=a/..><img src=.><img src=a//b>",
    "references": b"<img src='a&amp;b&#38;c&#x26;d&copy;&#0;&#xd800;&#1114112;&#x1F600;&quot;&'>",
    "encoded": b"<img src='a b%20c%zz'><img src=a%2Fb><img src=caf\xc3\xa9><img src='{{ x }}'>",
    "comments": b"<!-- <img src=a> --><!--><img src=b><!----!><img src=c><!-- <img src=d>",
    "texts": b"<script>'<img src=a>'</scripts></SCRIPT ><style><img src=b></style><textarea><img src=c></textarea>",
    "base": b"<base target=_top><base href='../e/f?x'><img src=a><base href=//h><img src=/b>",
    "base-elsewhere": b"<base href=https://h/><img src=a>",
    "template": b"<template><img src=a><template></template><img src=b></template><img src=c>",
    "attributes": b"<img =x / a==b src = 'c' src=d><img alt='>'src=e/><img src><img\tsrc\n=\f\"f\"",
    "declarations": b"<?xml <a?><!x <img src=a></ <b><</p title='>'><img src=b>",
    "plaintext": b"<plaintext><img src=a>",
    "value": b"../a/%2e/b c&amp;d?e#f",
    "unclosed": b"<img src='a><img src=b>",
}


SCRAPES = {
    "get": get(b"/metrics"),
    "head": get(b"/metrics?x", method=b"HEAD"),
    "post": get(b"/metrics", method=b"POST"),
    "not-found": get(),
    "openmetrics": get(b"/metrics", b"Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5"),
    "lines": get(b"/metrics", b"Accept: text/plain;q=0.1", b"accept:application/openmetrics-text ; q=0.2"),
    "bare-lf": get(b"/metrics").replace(b"\r\n", b"\n"),
    "no-colon": get(b"/metrics", b"x"),
    "value-prometheus": b"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
                        b"application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
    "value-quoted": b'text/plain;x="a,b\\",;q=1";q=0.5, application/openmetrics-text;q=1.000',
    "value-half": b'application/openmetrics-text;x="\\',
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


def coded():
    text = b"hello, " * 30
    for letter, command in (b"g", ["gzip", "-9n"]), (b"b", ["brotli", "-c"]), (b"z", ["zstd", "-c"]):
        for name, content in ("text", text), ("nothing", b""), ("zeros", bytes(60000)), ("bomb", bytes(3000000)):
            made = subprocess.run(command, input=content, capture_output=True, check=True).stdout
            if len(made) < 4000:
                yield f"{command[0]}-{name}", letter + made
        made = subprocess.run(command, input=text, capture_output=True, check=True).stdout
        yield f"{command[0]}-twice", letter + made + made
        yield f"{command[0]}-cut", letter + made[:-3]
        yield f"{command[0]}-followed", letter + made + b"\0"
    yield "zstd-skippable", b"z" + bytes.fromhex("502a4d1804000000") + b"skip" + bytes.fromhex("28b52ffd2000010000")
    yield "zstd-window-16m", b"z" + bytes.fromhex("28b52ffd0070010000")


def numbered(inputs):
    return {f"{i:02}": one for i, one in enumerate(inputs)}


def spread(inputs, *headers):
    """Each input behind one of the headers, which choose how it is split. By its name, so that each keeps its own."""
    return {name: headers[zlib.crc32(name.encode()) % len(headers)] + one for name, one in inputs.items()}

CONFIGS = {
    "empty": b"",
    "all": b"""root = .
[Addresses]
listen = 127.0.0.1:0
listen = unix:run/x
[Event loops]
backend = epoll
workers = 2
[Limits]
max-connections = 10
max-memory = 1G
stream-above = off
max-head = 4K
max-request-line = 1K
[Files]
index = home.htm
hidden = yes
symlinks = deny
[Caching and compression]
cache-control = private ;x #y
immutable = /assets/*
immutable = auto
no-nosniff = 1
encodings = gzip,br
no-compress = on
cache-dir = ./cache
[Reloading and ending]
settle = 0
watch = poll
keep-for = 5s
gate = index,vanished=5%,links
admin = unix:admin
snapshot-header = true
[Containment]
user = loom
group = 5
sandbox = auto
sandbox-read = /srv/shared
[Messages]
quiet = yes
verbose = no
""",
    "port": b"port = 0\nverbose=on",
    "crlf-and-mark": b"\xef\xbb\xbfsettle = 1s\r\n\r\n# comment\r\n",
    "colons": b"settle: 1s\nlisten:[::1]:8080\n",
    "indented": b"settle = 1s\n  grace = 2s\n\t[files]\n",
    "semicolons": b"cache-control = a ;b; c\nimmutable = /;\n",
    "hashes": b"immutable = /# x\n",
    "stand-ins": b"immutable = /\x01\n",
    "unknown": b"max_memory = 1G\n",
    "negated": b"compress = no\n",
    "section-unknown": b"[example.com]\nroot = /x\n",
    "section-open": b"[files\n",
    "section-and-more": b"[files] hidden = yes\n",
    "section-empty": b"[]\n",
    "twice": b"settle = 1s\nsettle = 2s\n",
    "rivals": b"port = 1\nlisten = :2\n",
    "no-value": b"settle =\n",
    "no-name": b"= 5\n",
    "no-sign": b"hidden\n",
    "long": b"index = " + b"a" * 189 + b"\ngrace = 1\n",
    "too-long": b"index = " + b"a" * 190 + b"\ngrace = 1\n",
    "nul": b"settle = 1\0s\n",
    "utf-16": "settle = 1s".encode("utf-16"),
}

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
BLOCK4 = bytes([192, 0, 2, 1, 192, 0, 2, 2, 220, 4, 0, 80])
BLOCK6 = bytes.fromhex("20010db8000000000000000000000001" "20010db8000000000000000000000002" "dc040050")
BLOCK6_MAPPED = bytes.fromhex("00000000000000000000ffffc0000201" "00000000000000000000ffffc0000202" "dc040050")


def version2(command, family, block, length=None):
    return SIGNATURE + bytes([command, family]) + (len(block) if length is None else length).to_bytes(2, "big") + block


PROXIED = {
    "tcp4": b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 80\r\n" + get(),
    "tcp6": b"PROXY TCP6 2001:db8::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 0\r\n",
    "tcp6-mapped": b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n",
    "unknown": b"PROXY UNKNOWN\r\n" + get(),
    "unknown-long": b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n",
    "unknown-too-long": b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n",
    "bare-lf": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
    "leading-zero": b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
    "port-too-large": b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
    "two-spaces": b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
    "v2-tcp4": version2(0x21, 0x11, BLOCK4) + get(),
    "v2-tcp6": version2(0x21, 0x21, BLOCK6),
    "v2-tcp6-mapped": version2(0x21, 0x21, BLOCK6_MAPPED),
    "v2-unix": version2(0x21, 0x31, b"/run/a.sock".ljust(108, b"\0") * 2),
    "v2-udp4": version2(0x21, 0x12, BLOCK4),
    "v2-local": version2(0x20, 0, b""),
    "v2-local-block": version2(0x20, 0x11, BLOCK4),
    "v2-fields": version2(0x21, 0x11, BLOCK4 + b"\x04\0\x03abc\x20\0\5\1\0\0\0\0"),
    "v2-block-short": version2(0x21, 0x21, BLOCK4),
    "v2-too-long": version2(0x21, 0x11, BLOCK4, 4081),
    "v2-version-3": version2(0x31, 0x11, BLOCK4),
    "request": get(),
}

# Numbers of the record, and then its texts.
RECORDS = {
    "whole": b"\0\x47\x01\x11\x50\x01\x02\x01GET\0/a.js?x=1\0https://a.b/\0Mozilla/5.0 (X11; Linux x86_64)",
    "good": b"\0\x07\x01\x11\x50\x01\x02\x01GET\0/a.js?x=1\0https://a.b/\0Mozilla/5.0 (X11; Linux x86_64)",
    "none": b"\xc8\0\0\0\0\0\0\0",
    "cut": b"\0\x3e\x02\x10\xff\x05\x06\x02GET\0/" + b"x" * 300 + b"\0" + b"r" * 40 + b"\0" + b"a" * 41,
    "escapes": b'\0\x07\x03\x20\x01\0\0\x02GET\0/"\\\0\t"\\\x1b[2J\x7f\b\f\v\r\n\0quoted "agent" here',
    "utf-8": b"\0\x07\0\x11\x01\0\0\0GET\0/\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\0\xc2\x85\xc2\xa0\0caf\xe9 \xe2\x82",
    "not-utf-8": b"\0\x07\0\x11\x01\0\0\0GET\0/\xc0\xaf\xe0\x9f\xbf\0\xed\xa0\x80\xf4\x90\x80\x80\0\xff\xfe\x80",
}

for target, inputs in {
    "conn": {**spread(MESSAGES, b"1250", b"3A!w", b"111w", b"9<40"),
             **spread(CONN, b"a250", b"3A!0", b"\xff111"),
             "drained": b"125d" + get(), "drained-half": b"111d" + get() + b"GET /"},
    "request": spread(MESSAGES, b"125", b"3A!", b"9<4"),
    "target": numbered(TARGETS),
    "authority": numbered(AUTHORITIES),
    "accept_encoding": ENCODINGS,
    "proxy": PROXIED,
    "metrics_request": SCRAPES,
    "range": RANGES,
    "date": DATES,
    "condition": CONDITIONS,
    "links": PAGES,
    "config": CONFIGS,
    "access_format": RECORDS,
    "chunked": spread(BODIES, b"125", b"3A!"),
    "compress": dict(coded()),
}.items():
    (HERE / target).mkdir(parents=True, exist_ok=True)
    for name, one in inputs.items():
        (HERE / target / name).write_bytes(one)
