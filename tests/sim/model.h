/*
 * model.h - what a client must get: the site that is served, version after version, and for each question the one right
 * answer, head and content, byte by byte. Written from docs/http.md and the RFCs; it shares no code with src/, and no
 * memory with what is served. Only entity-tags are learned: which they are is the server's affair, which contents they
 * tell apart is not.
 *
 * One thread. Contents are made when they are first asked for, and stay.
 */
#ifndef LOOM_SIM_MODEL_H
#define LOOM_SIM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define MODEL_VERSIONS 6
#define MODEL_PARTS    4
#define MODEL_TAG      24 /* bytes of an entity-tag, its quotes included */
#define MODEL_DATE     29
#define MODEL_TAIL     65536 /* of AT_HUGE, what is not zero */

enum page {
	AT_INDEX,  /* "/", some hundred bytes, another in each version */
	AT_SMALL,  /* "/small.txt", changes with every second version */
	AT_EMPTY,  /* "/empty": no content */
	AT_COPIED, /* "/copied.html": somewhat less than what is worth an iovec; coded, as is the next */
	AT_LENT,   /* "/lent.js": somewhat more */
	AT_LARGE,  /* "/large.bin": many times a socket's buffer */
	AT_DIR,    /* "/dir/" */
	AT_TINY,   /* "/tiny.bin": streamed from a file, as are the next two */
	AT_FILE,   /* "/file.bin": many times a socket's buffer */
	AT_HUGE,   /* "/huge.bin": 2^40 bytes, zeros but for the last MODEL_TAIL; not to be asked for whole */
	AT_NEW,    /* "/new.css": from version 3 on; larger than what is copied, as is the next */
	AT_OLD,    /* "/old.css": up to version 2 */
	AT_NAMED,  /* "/app.0123abcd.js": never changes, and says so */
	PAGES,
};

enum coding { PLAIN, GZIP, BROTLI, ZSTD, MODEL_CODINGS };

struct page_facts {
	const char *path;
	const char *type;
	const char *cache; /* Cache-Control; NULL: none */
	uint64_t len;      /* the least that it has, as it is */
	unsigned since, until;
	unsigned every; /* versions between two changes; 0: never */
	bool coded, streamed;
};

extern const struct page_facts model_pages[PAGES];

/* The content of a page in a version; 0: there is none. Two versions with the same one have the same bytes. */
unsigned model_content(enum page page, unsigned version);

uint64_t model_len(enum page page, unsigned content, enum coding coding);
time_t model_modified(enum page page, unsigned content); /* 0: not said */

/* Copies bytes of a content. */
void model_copy(enum page page, unsigned content, enum coding coding, uint64_t from, void *bytes, size_t len);

/* The server says which entity-tag a content has: always the same one, and another than all others. */
void model_learn_tag(enum page page, unsigned content, enum coding coding, const char *tag);
const char *model_tag(enum page page, unsigned content, enum coding coding);

/* Answers that are no page's. */
enum word {
	WORD_400,
	WORD_404,
	WORD_405,
	WORD_406,
	WORD_408,
	WORD_412,
	WORD_413,
	WORD_414,
	WORD_416,
	WORD_417,
	WORD_431,
	WORD_501,
	WORD_503,
	WORD_505,
	WORD_HEALTHY,
	WORD_DRAINING,
	WORDS,
	WORD_OPTIONS = WORDS, /* has no text */
};

/* Its text in a version: of the given length at most; the length. */
size_t model_words(enum word word, unsigned version, char *text, size_t size);

/* How a version calls itself: 22 bytes and a NUL. */
void model_id(unsigned version, char id[23]);

void model_date(time_t when, char date[MODEL_DATE + 1]);

enum ask_kind {
	ASK_PAGE,
	ASK_MOVED,  /* "/dir" */
	ASK_HEALTH, /* "/health" */
	ASK_WORD,
};

enum if_range { IF_RANGE_NONE, IF_RANGE_SAME, IF_RANGE_OTHER, IF_RANGE_DATE };

struct spec {
	uint64_t first, last; /* last UINT64_MAX: to the end; first UINT64_MAX: the last bytes, last of them */
};

/* What a request asks for, as far as the answer depends on it. */
struct ask {
	enum ask_kind kind;
	enum page page;
	enum word word;
	bool head;
	bool old;        /* HTTP/1.0 */
	bool keep_alive; /* as the client wants it */
	bool framed;     /* its end is known */
	const char *query;
	bool wishes; /* it has Accept-Encoding: */
	enum coding coding;
	bool nothing_coded, nothing_plain; /* none of what a coded page, or one that is not, has, is acceptable */
	unsigned specs;
	struct spec spec[MODEL_PARTS];
	enum if_range if_range;
	unsigned tag_content;        /* If-None-Match: the tag of this content, in this coding; 0: none */
	unsigned match_content;      /* If-Match likewise */
	unsigned unmodified_content; /* If-Unmodified-Since with its date */
	unsigned since_content;      /* If-Modified-Since with the date of this content; 0: none */
	unsigned range_content;      /* If-Range */
};

/* What it depends on besides. */
struct moment {
	unsigned version;
	bool returned; /* an earlier version is served again */
	time_t now;
	bool unhealthy;    /* --health sends clients elsewhere */
	bool close;        /* the connection ends with it */
	bool identified;   /* says Loom-Snapshot */
	enum word instead; /* WORDS: as asked; otherwise this, and nothing that was asked for matters but HEAD */
};

struct piece {
	const char *text; /* NULL: of a content */
	enum page page;
	unsigned content;
	enum coding coding;
	uint64_t from;
	uint64_t len;
};

struct answer {
	char head[1024];
	size_t head_len;
	uint64_t body_len;
	struct piece piece[2 * MODEL_PARTS + 1];
	unsigned pieces;
	char text[512]; /* of pieces that are no content */
	char part[MODEL_PARTS + 1][256];
	unsigned status;
	bool nowhere;  /* there is no such page in this version */
	bool streamed; /* its bytes lie in a file */
	bool of_page;  /* of one that is there, and counts as asked for */
};

void model_answer(const struct ask *ask, const struct moment *moment, struct answer *answer);

/* Whether bytes are those of the answer from there on, head included; bytes NULL: zeros are left out. */
bool model_is(const struct answer *answer, uint64_t from, const char *bytes, size_t len);

#endif
