/*
 * check_quick.h - in front of every test that is written with Check (tests/meson.build): an assertion that holds costs nothing.
 *
 * Check tells its parent process the line of every assertion before it goes on, by a system call, so that a crash can be told
 * by the last one. Tests that look at each byte of much spent most of their time so. A crash is told by its test's name.
 */
#pragma once

#include <check.h>

#undef ck_assert_msg
#define ck_assert_msg(expr, ...) \
	((expr) ? (void)0 : _ck_assert_failed(__FILE__, __LINE__, "Assertion '" #expr "' failed", ##__VA_ARGS__))
