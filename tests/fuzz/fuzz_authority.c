/*
 * fuzz_authority.c - Host, and the authority of targets (authority.h). The input is the authority.
 *
 * What must hold: it is one, of the same parts, by a second reading too (model.h), which leaves IPv6 to the C library.
 */
#include "fuzz.h"

#include <stdlib.h>

#include "loom/authority.h"
#include "model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t host_len = SIZE_MAX, expected_len = SIZE_MAX;
	bool has_port = false, expected_port = false, valid, expected;
	char *text;

	if (size > 300)
		return 0;
	text = fuzz_copy(data, size);
	valid = authority_parse(text, size, &host_len, &has_port);
	expected = model_authority(data, size, &expected_len, &expected_port);
	fuzz_require(valid == expected, "%s, and should not be", valid ? "valid" : "invalid");
	if (valid)
		fuzz_require(host_len == expected_len && has_port == expected_port,
		             "a host of %zu bytes and %s port, instead of %zu and %s", host_len, has_port ? "a" : "no",
		             expected_len, expected_port ? "a" : "no");
	free(text);
	return 0;
}
