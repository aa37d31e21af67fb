/* Runs the vectors of a JSON file that holds one case per line:
 * {"name": ..., "k": n, "scores": [...], "indices": [...]}, then random scores, against the definition of
 * the order. Usage: test_topk vectors/topk.json */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vp/topk.h"

enum { MAX_CLASSES = 4096, LINE_SIZE = 65536 };

/* Reads the integers of the array after `"key": [` into values; returns how many, or -1. */
static long read_array(const char *line, const char *key, long *values)
{
    const char *at = strstr(line, key);
    if (at == NULL || (at = strchr(at, '[')) == NULL) {
        return -1;
    }
    long count = 0;
    for (at++; *at != '\0' && *at != ']';) {
        char *end;
        const long value = strtol(at, &end, 10);
        if (end == at || count == MAX_CLASSES) {
            return -1;
        }
        values[count++] = value;
        at = *end == ',' ? end + 1 : end;
    }
    return count;
}

static int run_case(const char *line)
{
    static long scores[MAX_CLASSES];
    static long indices[MAX_CLASSES];
    static int8_t packed[MAX_CLASSES];
    static vp_topk_entry entries[MAX_CLASSES + 1];
    const char *k_text = strstr(line, "\"k\":");
    const long count = read_array(line, "\"scores\":", scores);
    const long expected = read_array(line, "\"indices\":", indices);
    if (k_text == NULL || count < 0 || expected < 0) {
        fprintf(stderr, "unreadable case: %.60s\n", line);
        return 1;
    }
    const unsigned long k = strtoul(k_text + 4, NULL, 10);
    for (long i = 0; i < count; i++) {
        packed[i] = (int8_t)scores[i];
    }
    memset(entries, 0x55, sizeof entries);
    const uint32_t used = vp_topk_select(packed, (uint32_t)count, (uint32_t)k, entries);
    int failed = used != (uint32_t)expected || entries[used].index != 0x5555u;
    for (uint32_t i = 0; i < used && !failed; i++) {
        failed = entries[i].index != indices[i] || entries[i].score != packed[entries[i].index];
    }
    if (failed) {
        fprintf(stderr, "failed: %.60s\n", line);
    }
    return failed;
}

static uint32_t random_below(uint32_t limit)
{
    static uint32_t state = 5;
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % limit;
}

static int is_better(vp_topk_entry a, vp_topk_entry b)
{
    return a.score > b.score || (a.score == b.score && a.index < b.index);
}

/* Whether the survivors are in order and nothing that was left out is better than the last of them:
 * then they are the ones. */
static int run_random(uint32_t count, uint32_t k, uint32_t values)
{
    static int8_t scores[VP_TOPK_MAX_CLASSES];
    static vp_topk_entry entries[VP_TOPK_MAX_CLASSES];
    const uint32_t expected = k < count ? k : count;
    for (uint32_t i = 0; i < count; i++) {
        scores[i] = (int8_t)((int)(random_below(values) * (256u / values)) - 128);
    }
    int right = vp_topk_select(scores, count, k, entries) == expected;
    uint32_t better = 0;
    for (uint32_t i = 0; i < expected && right; i++) {
        right = entries[i].index < count && entries[i].score == scores[entries[i].index] &&
                (i == 0u || is_better(entries[i - 1u], entries[i]));
    }
    for (uint32_t i = 0; i < count && right; i++) {
        const vp_topk_entry entry = {.index = (uint16_t)i, .score = scores[i]};
        better += (uint32_t)is_better(entry, entries[expected - 1u]);
    }
    if (!right || better != expected - 1u) {
        fprintf(stderr, "failed: %u of %u classes, %u values\n", k, count, values);
        return 1;
    }
    return 0;
}

static int run_all_random(void)
{
    static const uint32_t values[] = {1, 2, 16, 256};
    int failures = 0;
    for (uint32_t i = 0; i < 4u; i++) {
        for (int round = 0; round < 500; round++) {
            const uint32_t count = 1u + random_below(120);
            failures += run_random(count, 1u + random_below(count + 3u), values[i]);
        }
        failures += run_random(1000, VP_TOPK_FEW, values[i]) +
                    run_random(1000, VP_TOPK_FEW + 1u, values[i]) +
                    run_random(VP_TOPK_MAX_CLASSES, 5, values[i]) +
                    run_random(VP_TOPK_MAX_CLASSES, VP_TOPK_MAX_CLASSES, values[i]);
    }
    return failures;
}

int main(int argc, char **argv)
{
    static char line[LINE_SIZE];
    FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;
    if (file == NULL) {
        fprintf(stderr, "usage: test_topk VECTORS.json\n");
        return 2;
    }
    int cases = 0;
    int failures = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (strchr(line, '{') != NULL) {
            cases++;
            failures += run_case(line);
        }
    }
    fclose(file);

    vp_topk_entry entry;
    const int8_t score = 0;
    failures += vp_topk_select(&score, VP_TOPK_MAX_CLASSES + 1u, 1u, &entry) != 0u;
    failures += vp_topk_select(&score, 0, 1u, &entry) != 0u;
    failures += vp_topk_select(&score, 1u, 0, &entry) != 0u;
    failures += run_all_random();
    printf("%d cases of the file, %d failures in all\n", cases, failures);
    return failures != 0 || cases == 0;
}
