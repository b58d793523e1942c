/*
 * fuzz_metrics_request.c - what a scraper sends (src/metrics_request.h). The input is the bytes of a connection.
 *
 * What must hold: an answer that is due after some bytes is not due before the last of them, and is the same whatever
 * follows; its status is one that there is; a line of Accept chooses what metrics_accept() says of its value.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "metrics_request.h"

static bool read_copy(const uint8_t *data, size_t len, struct metrics_request *request)
{
	char *copy = fuzz_copy(data, len);
	bool due = metrics_request_read(copy, len, request);

	free(copy);
	return due;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char before[] = "GET /metrics HTTP/1.1\r\nAccept: ", behind[] = "\r\n\r\n";
	struct metrics_request request, other;
	size_t len = 0;
	uint8_t *whole;
	char *value;

	if (size > METRICS_HEAD_MAX)
		return 0;
	while (len < size && !read_copy(data, len, &request))
		len++;
	if (read_copy(data, len, &request)) {
		fuzz_require(read_copy(data, size, &other), "an answer is due, and with more bytes it is not");
		fuzz_require(other.status == request.status && other.head == request.head &&
		                     other.format == request.format,
		             "what follows changes the answer");
		fuzz_require(request.status == 200 || request.status == 400 || request.status == 404 ||
		                     request.status == 405 || request.status == 431,
		             "status %u", request.status);
	}
	if (size + sizeof(before) + sizeof(behind) > METRICS_HEAD_MAX || memchr(data, '\n', size) ||
	    (size > 0 && data[size - 1] == '\r'))
		return 0;
	whole = fuzz_memory(sizeof(before) + size + sizeof(behind));
	memcpy(whole, before, sizeof(before) - 1);
	memcpy(whole + sizeof(before) - 1, data, size);
	memcpy(whole + sizeof(before) - 1 + size, behind, sizeof(behind) - 1);
	fuzz_require(read_copy(whole, sizeof(before) + size + sizeof(behind) - 2, &request) && request.status == 200,
	             "a request with this Accept is none");
	value = fuzz_copy(data, size);
	fuzz_require(request.format == metrics_accept(value, size), "Accept is read in two ways");
	free(value);
	free(whole);
	return 0;
}
