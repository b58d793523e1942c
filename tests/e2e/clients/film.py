"""A WebM file that can be sought in, made of still pictures: lossy WebP pictures in, one a frame.

A lossy WebP file is a RIFF container around one VP8 key frame, and a WebM file is an EBML container around VP8 frames:
so the frames need not be encoded again. Every frame is a key frame and has a cluster and a cue of its own, and the cues
stand in front, as a film for the web has them.
"""
import struct

# EBML and Matroska element ids
EBML, EBML_VERSION, EBML_READ_VERSION = 0x1A45DFA3, 0x4286, 0x42F7
EBML_MAX_ID_LENGTH, EBML_MAX_SIZE_LENGTH = 0x42F2, 0x42F3
DOC_TYPE, DOC_TYPE_VERSION, DOC_TYPE_READ_VERSION = 0x4282, 0x4287, 0x4285
SEGMENT, SEEK_HEAD, SEEK, SEEK_ID, SEEK_POSITION = 0x18538067, 0x114D9B74, 0x4DBB, 0x53AB, 0x53AC
INFO, TIMESTAMP_SCALE, DURATION, MUXING_APP, WRITING_APP = 0x1549A966, 0x2AD7B1, 0x4489, 0x4D80, 0x5741
TRACKS, TRACK_ENTRY, TRACK_NUMBER, TRACK_UID, TRACK_TYPE, CODEC_ID = 0x1654AE6B, 0xAE, 0xD7, 0x73C5, 0x83, 0x86
VIDEO, PIXEL_WIDTH, PIXEL_HEIGHT = 0xE0, 0xB0, 0xBA
CUES, CUE_POINT, CUE_TIME = 0x1C53BB6B, 0xBB, 0xB3
CUE_TRACK_POSITIONS, CUE_TRACK, CUE_CLUSTER_POSITION = 0xB7, 0xF7, 0xF1
CLUSTER, TIMESTAMP, SIMPLE_BLOCK = 0x1F43B675, 0xE7, 0xA3

KEY_FRAME = 0x80


def element(number, *parts):
    """An element of the parts; a whole number is eight bytes wide, so that no length depends on a value."""
    data = b"".join(part if isinstance(part, bytes) else struct.pack(">Q", part) for part in parts)
    head = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return head + (1 << 56 | len(data)).to_bytes(8, "big") + data


def key_frame(webp):
    """The VP8 key frame of a lossy WebP picture, and its width and height."""
    if webp[:4] != b"RIFF" or webp[8:12] != b"WEBP":
        raise ValueError(f"not a WebP picture: {webp[:16]!r}")
    at = 12
    while at < len(webp):
        kind, length = struct.unpack_from("<4sI", webp, at)
        if kind == b"VP8 ":
            frame = webp[at + 8:at + 8 + length]
            width, height = struct.unpack_from("<HH", frame, 6)
            return frame, width & 0x3FFF, height & 0x3FFF
        at += 8 + length + length % 2
    raise ValueError("not a lossy WebP picture")


def webm(pictures, milliseconds):
    """A film that shows each picture so long."""
    frames = [key_frame(picture) for picture in pictures]
    _, width, height = frames[0]
    clusters = [element(CLUSTER, element(TIMESTAMP, number * milliseconds),
                        element(SIMPLE_BLOCK, b"\x81\0\0" + bytes([KEY_FRAME]) + frame))
                for number, (frame, _, _) in enumerate(frames)]
    info = element(INFO, element(TIMESTAMP_SCALE, 1000000),
                   element(DURATION, struct.pack(">d", len(frames) * milliseconds)),
                   element(MUXING_APP, b"loom"), element(WRITING_APP, b"loom"))
    tracks = element(TRACKS, element(TRACK_ENTRY, element(TRACK_NUMBER, 1), element(TRACK_UID, 1),
                                     element(TRACK_TYPE, 1), element(CODEC_ID, b"V_VP8"),
                                     element(VIDEO, element(PIXEL_WIDTH, width), element(PIXEL_HEIGHT, height))))

    def front(first_cluster):
        """All that stands before the clusters; its length does not depend on where they stand."""
        points, at = [], first_cluster
        for number, cluster in enumerate(clusters):
            points.append(element(CUE_POINT, element(CUE_TIME, number * milliseconds),
                                  element(CUE_TRACK_POSITIONS, element(CUE_TRACK, 1),
                                          element(CUE_CLUSTER_POSITION, at))))
            at += len(cluster)
        cues = element(CUES, *points)
        seeks = [(INFO, 0), (TRACKS, len(info)), (CUES, len(info) + len(tracks))]

        def head(offset):
            return element(SEEK_HEAD, *[element(SEEK, element(SEEK_ID, number.to_bytes(4, "big")),
                                                element(SEEK_POSITION, offset + at)) for number, at in seeks])
        return head(len(head(0))) + info + tracks + cues

    body = front(len(front(0))) + b"".join(clusters)
    return element(EBML, element(EBML_VERSION, 1), element(EBML_READ_VERSION, 1), element(EBML_MAX_ID_LENGTH, 4),
                   element(EBML_MAX_SIZE_LENGTH, 8), element(DOC_TYPE, b"webm"), element(DOC_TYPE_VERSION, 4),
                   element(DOC_TYPE_READ_VERSION, 2)) + element(SEGMENT, body)
