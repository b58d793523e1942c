/*
 * syslog_socket.h - lines to the system's log, by the datagrams that syslog(3) sends (RFC 3164 as local daemons take it):
 * "<30>Nov 28 17:43:06 loom[4711]: text". Not by syslog(3) itself, which waits for a daemon that is slow, and knows one path.
 *
 * Any thread but an event loop's.
 */
#ifndef LOOM_SYSLOG_SOCKET_H
#define LOOM_SYSLOG_SOCKET_H

#include <stddef.h>

#define SYSLOG_SOCKET_HEADER_MAX 64
#define SYSLOG_SOCKET_LINE_MAX   8192 /* bytes of a line's text; the rest is cut: it is what daemons take */

/* The socket's path of "syslog" (/dev/log) and of "syslog:PATH"; NULL: where is none of these. */
const char *syslog_socket_path(const char *where);

/* A connected, non-blocking, close-on-exec socket; or -errno. */
int syslog_socket_open(const char *path);

/* What stands before a line's text now. severity: 0 to 7, syslog(3). Returns its length. */
size_t syslog_socket_header(char out[SYSLOG_SOCKET_HEADER_MAX], int severity);

/*
 * One line, without its end. When the daemon has been restarted, *fd is connected anew. 0, -EAGAIN when it does not take
 * more now, or -errno.
 */
int syslog_socket_send(int *fd, const char *path, const char *header, size_t header_len, const char *text, size_t len);

#endif
