/*
 * listen_parse.c - addresses, from text and as text. Main thread, and the tests; owns nothing.
 */
#include "listen_address.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define EXAMPLES "[::]:8080, 127.0.0.1:8080, :8080 or unix:/path"

int listen_explain(char *why, size_t size, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(why, size, format, arguments);
	va_end(arguments);
	return -EINVAL;
}

bool address_is_unix(const struct listen_address *address)
{
	return address->addr.ss_family == AF_UNIX;
}

const char *address_path(const struct listen_address *address)
{
	return ((const struct sockaddr_un *)&address->addr)->sun_path;
}

/* Where the port of an Internet address is kept. */
in_port_t *address_port(struct listen_address *address)
{
	if (address->addr.ss_family == AF_INET6)
		return &((struct sockaddr_in6 *)&address->addr)->sin6_port;
	assert(address->addr.ss_family == AF_INET);
	return &((struct sockaddr_in *)&address->addr)->sin_port;
}

void address_name(const struct listen_address *address, struct address_name *name)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->addr;
	const struct sockaddr_in *in = (const struct sockaddr_in *)&address->addr;
	char host[INET6_ADDRSTRLEN];
	char scope[IF_NAMESIZE + 1] = "";

	if (address_is_unix(address)) {
		/*
		 * An abstract name (unix(7)) begins with a zero byte; who has passed such a socket knows it as @name.
		 */
		const char *path = address_path(address);
		size_t len = address->len > offsetof(struct sockaddr_un, sun_path)
		                     ? address->len - offsetof(struct sockaddr_un, sun_path)
		                     : 0;
		bool abstract = len > 1 && *path == '\0';

		snprintf(name->text, sizeof(name->text), UNIX_PREFIX "%s%.*s", abstract ? "@" : "",
		         (int)(abstract ? len - 1 : len), abstract ? path + 1 : path);
	} else if (address->addr.ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		if (in6->sin6_scope_id) {
			scope[0] = '%';
			if (!if_indextoname(in6->sin6_scope_id, scope + 1))
				scope[0] = '\0';
		}
		snprintf(name->text, sizeof(name->text), "[%s%s]:%u", host, scope, ntohs(in6->sin6_port));
	} else {
		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(name->text, sizeof(name->text), "%s:%u", host, ntohs(in->sin_port));
	}
}

bool address_is_wildcard(const struct listen_address *address)
{
	if (address->addr.ss_family == AF_INET6)
		return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)&address->addr)->sin6_addr);
	return address->addr.ss_family == AF_INET &&
	       ((const struct sockaddr_in *)&address->addr)->sin_addr.s_addr == htonl(INADDR_ANY);
}

/* What can be opened in a browser. [::] and 0.0.0.0 cannot, in many. */
void address_write_text(struct listen_address *address)
{
	struct address_name name;

	address_name(address, &name);
	if (address_is_unix(address))
		snprintf(address->text, sizeof(address->text), "%s", name.text);
	else if (address_is_wildcard(address))
		snprintf(address->text, sizeof(address->text), "http://localhost:%u/ (all interfaces)",
		         ntohs(*address_port(address)));
	else
		snprintf(address->text, sizeof(address->text), "http://%s/", name.text);
}

static int parse_unix(const char *text, struct listen_address *address, char *why, size_t size)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&address->addr;
	const char *path = text + sizeof(UNIX_PREFIX) - 1;
	size_t len = strlen(path);

	if (len == 0)
		return listen_explain(why, size, "'%s' lacks the path (as in unix:/run/loom.sock)", text);
	if (len >= sizeof(un->sun_path))
		return listen_explain(why, size, "'%s': a Unix socket's path has at most %zu bytes", text,
		                      sizeof(un->sun_path) - 1);
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, len + 1);
	address->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
	return 0;
}

/* Decimal digits, 0 to 65535. */
static int parse_port(const char *text, in_port_t *port)
{
	unsigned value = 0;

	if (*text == '\0')
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		value = value * 10 + (unsigned)(*text - '0');
		if (value > UINT16_MAX)
			return -ERANGE;
	}
	*port = htons((uint16_t)value);
	return 0;
}

/* The inside of [...]: an address, perhaps with the %interface that a link-local one needs (RFC 4007 11). */
static int parse_in6(const char *host, struct sockaddr_in6 *in6)
{
	char copy[INET6_ADDRSTRLEN + 1 + IF_NAMESIZE];
	char *scope;

	if (strlen(host) >= sizeof(copy))
		return -EINVAL;
	strcpy(copy, host);
	scope = strchr(copy, '%');
	if (scope) {
		*scope++ = '\0';
		in6->sin6_scope_id = if_nametoindex(scope);
		if (in6->sin6_scope_id == 0)
			return -ENODEV;
	}
	return inet_pton(AF_INET6, copy, &in6->sin6_addr) == 1 ? 0 : -EINVAL;
}

static int parse_host(const char *text, const char *host, struct listen_address *address, char *why, size_t size)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address->addr;
	struct sockaddr_in *in = (struct sockaddr_in *)&address->addr;
	size_t len = strlen(host);

	if (len == 0) {
		in6->sin6_family = AF_INET6; /* the rest is zero: [::] */
		address->len = sizeof(*in6);
	} else if (host[0] == '[' && host[len - 1] == ']') {
		char inside[64];
		int error;

		snprintf(inside, sizeof(inside), "%.*s", (int)len - 2, host + 1);
		in6->sin6_family = AF_INET6;
		address->len = sizeof(*in6);
		error = parse_in6(inside, in6);
		if (error == -ENODEV)
			return listen_explain(why, size, "'%s': this machine has no such interface", text);
		if (error)
			return listen_explain(why, size, "'%s': %s is no IPv6 address", text, host);
	} else if (strchr(host, ':')) {
		return listen_explain(why, size, "'%s': an IPv6 address stands in brackets (as in [::1]:8080)", text);
	} else {
		in->sin_family = AF_INET;
		address->len = sizeof(*in);
		if (inet_pton(AF_INET, host, &in->sin_addr) != 1)
			return listen_explain(why, size, "'%s': '%s' is no numeric address (%s)", text, host, EXAMPLES);
	}
	address->dual_stack = address->addr.ss_family == AF_INET6 && address_is_wildcard(address);
	return 0;
}

int listen_parse(const char *text, struct listen_address *address, char *why, size_t size)
{
	const char *colon = strrchr(text, ':');
	const char *port_text;
	char host[64] = "";
	in_port_t port = 0;
	int error;

	*address = (struct listen_address){ .options.no_delay = true };
	if (strncmp(text, UNIX_PREFIX, sizeof(UNIX_PREFIX) - 1) == 0) {
		error = parse_unix(text, address, why, size);
		if (!error)
			address_write_text(address);
		return error;
	}
	if (colon) {
		if ((size_t)(colon - text) >= sizeof(host))
			return listen_explain(why, size, "'%s' is no address (%s)", text, EXAMPLES);
		memcpy(host, text, (size_t)(colon - text));
		port_text = colon + 1;
	} else {
		port_text = text;
	}
	error = parse_port(port_text, &port);
	if (error == -ERANGE)
		return listen_explain(why, size, "'%s': a port is at most 65535", text);
	if (error && (!colon || strchr(port_text, ']')))
		return listen_explain(why, size, "'%s' lacks a port (%s)", text, EXAMPLES);
	if (error)
		return listen_explain(why, size, "'%s': '%s' is no port (%s)", text, port_text, EXAMPLES);
	error = parse_host(text, host, address, why, size);
	if (error)
		return error;
	*address_port(address) = port;
	address_write_text(address);
	return 0;
}
