/*
 * links.h - the files of the same site that an HTML page needs to look and work as it should. Pure.
 *
 * These are told, in the order in which they stand: <script src>, <img src>, and <link href> where rel is or holds
 * stylesheet, modulepreload, preload or icon. The page is read as browsers read it (HTML Standard 13.2.5), as far as that
 * decides what is a tag: comments, quotes, the texts of scripts and styles, character references in attributes. What lies in
 * a <template> is not fetched, and not told. URLs are resolved as browsers do it (URL Standard 4.4), against the page's
 * own URL or the first <base href>, and then read as a request target is (target.h). What has a scheme or a host leads
 * elsewhere and is passed over, and so is a reference to the page itself.
 *
 * Not read: srcset, CSS, and what scripts fetch.
 */
#ifndef LOOM_LINKS_H
#define LOOM_LINKS_H

#include <stddef.h>

/* Longer URLs, and longer paths that they lead to, are no keys: no file has such a name. */
#define LINKS_URL_MAX 4096

struct links_link {
	const char *url; /* as written, character references decoded; for people */
	size_t url_len;
	const char *key; /* what the server will look for; NULL: it will answer 400 or 404, whatever the tree holds */
	size_t key_len;
};

/* The link is good for the time of the call. A result other than 0 ends the scan, and is its result. */
typedef int links_fn(void *context, const struct links_link *link);

/* key: the page's own, absolute. html is any bytes; the work is in proportion to len. */
int links_scan(const char *key, size_t key_len, const char *html, size_t len, links_fn *found, void *context);

#endif
