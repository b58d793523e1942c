/*
 * request_fields.h - the seam between the halves of the request reader: request.c, which drives llhttp, and request_fields.c.
 * Private to them.
 */
#ifndef LOOM_REQUEST_FIELDS_H
#define LOOM_REQUEST_FIELDS_H

#include <stddef.h>

#include "loom/request.h"

/*
 * A field line is complete: keeps what of it is worth keeping. span is where value lies, white space around it aside. 0, or
 * the status of the error that it is.
 */
unsigned request_read_field(struct request_parser *parser, const char *name, size_t name_len, const char *value,
                            struct span span);

#endif
