/*
 * authority.h - what may stand in Host and in the authority of a target: uri-host [ ":" port ] (RFC 9110 7.2, RFC 3986 3.2),
 * without userinfo. Pure. Nothing is done with the name: there is one site.
 */
#ifndef LOOM_AUTHORITY_H
#define LOOM_AUTHORITY_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Whether the text is an authority. *host_len: bytes of the host, 0 when there is none, which Host may have and a target may
 * not. *has_port: there is a colon with at least one digit behind it.
 */
bool authority_parse(const char *text, size_t len, size_t *host_len, bool *has_port);

#endif
