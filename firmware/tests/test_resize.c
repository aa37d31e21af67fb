/* The input resize against a second statement of its formula, in one plain double loop. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "vp/resize.h"

#define MAX_SIDE 40u
#define MAX_CHANNELS 4u
#define MAX_SIZE (MAX_SIDE * MAX_SIDE * MAX_CHANNELS)

static uint32_t random_state = 3;

static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % limit;
}

static int64_t position(int64_t i, int64_t n, int64_t m)
{
    const int64_t p = ((2 * i + 1) * n * 128) / m - 128;
    return p < 0 ? 0 : p > 256 * (n - 1) ? 256 * (n - 1) : p;
}

static int64_t pixel(const vp_resize *g, const uint8_t *source, int64_t y, int64_t x, int64_t c)
{
    y = y < g->source_height ? y : g->source_height - 1;
    x = x < g->source_width ? x : g->source_width - 1;
    return source[(y * g->source_width + x) * g->channels + c];
}

static int8_t expected(const vp_resize *g, const uint8_t *source, const int8_t lut[256], int64_t row,
                       int64_t column, int64_t c)
{
    const int64_t py = position(row + g->crop_top, g->source_height, g->crop_height + g->margin);
    const int64_t px = position(column + g->crop_left, g->source_width, g->crop_width + g->margin);
    const int64_t y = py / 256;
    const int64_t x = px / 256;
    const int64_t fy = py % 256;
    const int64_t fx = px % 256;
    const int64_t sum =
        pixel(g, source, y, x, c) * (256 - fx) * (256 - fy) +
        pixel(g, source, y, x + 1, c) * fx * (256 - fy) +
        pixel(g, source, y + 1, x, c) * (256 - fx) * fy + pixel(g, source, y + 1, x + 1, c) * fx * fy;
    return lut[(sum + 32768) >> 16];
}

/* Row by row, with the two rows in memory of exactly their size, gives the same, and wants no row of
 * the source before it is needed nor one that is never used. */
static void check_stream(const vp_resize *g, const uint8_t *source, const int8_t lut[256],
                         const int8_t *whole)
{
    const size_t source_row = (size_t)g->source_width * g->channels;
    const size_t row_size = (size_t)g->crop_width * g->channels;
    uint8_t *rows = malloc(2u * source_row);
    int8_t *out = malloc(row_size);
    vp_resize_stream stream;
    uint32_t given = 0;
    CHECK(rows != NULL && out != NULL);
    CHECK(vp_resize_stream_begin(&stream, g, lut, rows, 2u * source_row - 1u) == -1);
    CHECK(vp_resize_stream_begin(&stream, g, lut, rows, 2u * source_row) == 0);
    memset(rows, 0xAA, 2u * source_row);
    for (uint32_t row = 0; row < g->crop_height; row++) {
        const int64_t at = position(row + g->crop_top, g->source_height, g->crop_height + g->margin);
        const uint32_t reach = (uint32_t)((at + 255) / 256 + 1);
        CHECK(vp_resize_reach(g, row) == reach);
        for (; given < reach; given++) {
            CHECK(vp_resize_stream_make(&stream, out) == 0);
            uint8_t *line = vp_resize_stream_row_wanted(&stream);
            CHECK(line != NULL);
            memcpy(line, source + given * source_row, source_row);
            vp_resize_stream_row_given(&stream);
        }
        CHECK(vp_resize_stream_row_wanted(&stream) == NULL);
        vp_resize_stream_row_given(&stream);
        CHECK(vp_resize_stream_make(&stream, out) == 1);
        CHECK(memcmp(out, whole + row * row_size, row_size) == 0);
    }
    CHECK(vp_resize_stream_row_wanted(&stream) == NULL);
    CHECK(vp_resize_stream_make(&stream, out) == 0);
    free(rows);
    free(out);
}

static void check_geometry(const vp_resize *g)
{
    static uint8_t source[MAX_SIZE];
    static int8_t out[MAX_SIZE];
    int8_t lut[256];
    int same = 1;
    uint32_t rows_done = 0;
    for (unsigned i = 0; i < 256u; i++) {
        lut[i] = (int8_t)((int)(i * 7u % 256u) - 128);
    }
    for (size_t i = 0; i < sizeof(source); i++) {
        source[i] = (uint8_t)random_below(256);
    }
    while (rows_done < g->crop_height) {
        const uint32_t rows = 1u + random_below(g->crop_height - rows_done);
        CHECK(vp_resize_rows(g, source, lut, rows_done, rows,
                             out + rows_done * g->crop_width * g->channels) == 0);
        rows_done += rows;
    }
    for (uint32_t row = 0; row < g->crop_height; row++) {
        for (uint32_t column = 0; column < g->crop_width; column++) {
            for (uint32_t c = 0; c < g->channels; c++) {
                same &= out[(row * g->crop_width + column) * g->channels + c] ==
                        expected(g, source, lut, row, column, c);
            }
        }
    }
    CHECK(same);
    check_stream(g, source, lut, out);
}

/* The source has exactly its size, so that a sanitizer sees what is read beyond it. */
static void test_one_long_side(void)
{
    static const uint16_t sides[] = {1, 2, 3, 255, 256, 257, 4095, 4096};
    static int8_t out[VP_RESIZE_MAX_SIDE * 2u];
    int8_t lut[256];
    for (unsigned i = 0; i < 256u; i++) {
        lut[i] = (int8_t)((int)i - 128);
    }
    for (unsigned i = 0; i < 64u; i++) {
        for (unsigned upright = 0; upright < 2u; upright++) {
            const uint16_t from = sides[i / 8u];
            const uint16_t to = sides[i % 8u];
            const vp_resize wide = {2, from, 2, to, 0, 0, 0, 1};
            const vp_resize high = {from, 2, to, 2, 0, 0, 0, 1};
            const vp_resize *g = upright ? &high : &wide;
            uint8_t *source = malloc(2u * (size_t)from);
            int same = 1;
            CHECK(source != NULL);
            for (uint32_t at = 0; at < 2u * (uint32_t)from; at++) {
                source[at] = (uint8_t)random_below(256);
            }
            CHECK(vp_resize_rows(g, source, lut, 0, g->crop_height, out) == 0);
            for (uint32_t at = 0; at < 2u * (uint32_t)to; at++) {
                same &= out[at] == expected(g, source, lut, at / g->crop_width, at % g->crop_width, 0);
            }
            CHECK(same);
            check_stream(g, source, lut, out);
            free(source);
        }
    }
}

static void test_random_geometries(void)
{
    for (int i = 0; i < 300; i++) {
        const uint16_t margin = (uint16_t)random_below(11);
        const vp_resize g = {
            .source_height = (uint16_t)(1u + random_below(MAX_SIDE)),
            .source_width = (uint16_t)(1u + random_below(MAX_SIDE)),
            .crop_height = (uint16_t)(1u + random_below(MAX_SIDE)),
            .crop_width = (uint16_t)(1u + random_below(MAX_SIDE)),
            .margin = margin,
            .crop_top = (uint16_t)random_below(margin + 1u),
            .crop_left = (uint16_t)random_below(margin + 1u),
            .channels = (uint8_t)(1u + random_below(MAX_CHANNELS)),
        };
        check_geometry(&g);
    }
}

/* Where no pixel lies between two, along one axis or both. */
static void test_same_size_copies(void)
{
    for (int i = 0; i < 100; i++) {
        const uint16_t margin = (uint16_t)random_below(4);
        vp_resize g = {
            .crop_height = (uint16_t)(1u + random_below(9)),
            .crop_width = (uint16_t)(1u + random_below(9)),
            .margin = margin,
            .crop_top = (uint16_t)random_below(margin + 1u),
            .crop_left = (uint16_t)random_below(margin + 1u),
            .channels = (uint8_t)(1u + random_below(MAX_CHANNELS)),
        };
        g.source_height = (uint16_t)(i % 3 == 0 ? 1u + random_below(12) : g.crop_height + margin);
        g.source_width = (uint16_t)(i % 3 == 1 ? 1u + random_below(12) : g.crop_width + margin);
        check_geometry(&g);
    }
}

static void test_refusals(void)
{
    static const uint8_t source[4] = {1, 2, 3, 4};
    static const int8_t lut[256];
    const vp_resize good = {2, 2, 2, 2, 1, 1, 0, 1};
    int8_t out[4] = {9, 9, 9, 9};
    uint8_t rows[4];
    vp_resize_stream stream;
#define REFUSED(field, value)                                      \
    do {                                                           \
        vp_resize g = good;                                        \
        g.field = value;                                           \
        CHECK(vp_resize_rows(&g, source, lut, 0, 1, out) == -1);   \
        CHECK(vp_resize_stream_begin(&stream, &g, lut, rows, 4) == -1); \
    } while (0)
    REFUSED(source_height, 0);
    REFUSED(source_width, 0);
    REFUSED(source_height, 4097);
    REFUSED(source_width, 4097);
    REFUSED(crop_height, 0);
    REFUSED(crop_width, 0);
    REFUSED(margin, 4095);
    REFUSED(crop_top, 2);
    REFUSED(crop_left, 2);
    REFUSED(channels, 0);
    CHECK(vp_resize_stream_begin(&stream, &good, lut, rows, 4) == 0);
    CHECK(vp_resize_rows(&good, source, lut, 3, 0, out) == -1);
    CHECK(vp_resize_rows(&good, source, lut, 1, 2, out) == -1);
    CHECK(vp_resize_rows(&good, source, lut, 0, UINT32_MAX, out) == -1);
    CHECK(out[0] == 9 && out[3] == 9);
    CHECK(vp_resize_rows(&good, source, lut, 2, 0, out) == 0);
}

int main(void)
{
    test_random_geometries();
    test_one_long_side();
    test_same_size_copies();
    test_refusals();
    CHECK_DONE();
}
