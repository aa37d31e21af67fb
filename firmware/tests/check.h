/**
 * @file check.h
 * The few lines a C test needs: CHECK() reports and counts, CHECK_DONE() ends main.
 */
#ifndef VP_TESTS_CHECK_H
#define VP_TESTS_CHECK_H

#include <stdio.h>

static int check_failures;
static int check_count;
static const char *check_context = "";

#define CHECK(condition)                                                                        \
    do {                                                                                        \
        check_count++;                                                                          \
        if (!(condition)) {                                                                     \
            check_failures++;                                                                   \
            fprintf(stderr, "%s:%d: %s [%s]\n", __FILE__, __LINE__, #condition, check_context); \
        }                                                                                       \
    } while (0)

#define CHECK_DONE()                                                          \
    do {                                                                      \
        printf("%d checks, %d failures\n", check_count, check_failures);      \
        return check_failures != 0 || check_count == 0;                       \
    } while (0)

#endif
