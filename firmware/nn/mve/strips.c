#include "strips.h"

#include <string.h>

#define LANES VP_NN_MVE_STRIP_LANES
#define ROWS VP_NN_MVE_STRIP_ROWS
#define COLUMN VP_NN_MVE_STRIP_COLUMN

void vp_nn_mve_strips_begin(vp_nn_mve_strips *s, const vp_nn_mve_depthwise_conv_2d *p, int32_t row,
                            int32_t ky, int32_t rows, const vp_nn_rows *input, int8_t *strips)
{
    const vp_nn_window *w = &p->window;
    const int32_t room = p->columns - w->pad_left;
    s->rows = rows;
    s->inside = room < w->input_width ? room : w->input_width;
    s->columns = strips + w->pad_left * COLUMN;
    memset(s->outside, p->input_zero_point, sizeof s->outside);
    memset(strips, p->input_zero_point, (size_t)(w->pad_left * COLUMN));
    memset(s->columns + s->inside * COLUMN, p->input_zero_point,
           (size_t)((room - s->inside) * COLUMN));
    for (int32_t i = 0; i < ROWS; i++) {
        const int32_t y = row * w->stride_height - w->pad_top + (ky + i) * w->dilation_height;
        const int inside = i < rows && y >= 0 && y < w->input_height;
        s->data[i] = inside ? vp_nn_row(input, y) : s->outside;
        s->step[i] = inside ? w->input_channels : 0;
    }
}

#define LOAD_3                    \
    "vpsttt\n\t"                  \
    "vldrbt.8 q0, [%[d0]]\n\t"    \
    "vldrbt.8 q1, [%[d1]]\n\t"    \
    "vldrbt.8 q2, [%[d2]]\n\t"    \
    "add %[d0], %[d0], %[s0]\n\t" \
    "add %[d1], %[d1], %[s1]\n\t" \
    "add %[d2], %[d2], %[s2]\n\t"
#define LOAD_1                    \
    "vpst\n\t"                    \
    "vldrbt.8 q3, [%[d3]]\n\t"    \
    "add %[d3], %[d3], %[s3]\n\t"
#define TURN(LOADS)                                                                              \
    __asm__ volatile(                                                                            \
        "vmsr p0, %[lanes]\n\t"                                                                  \
        "vmov.i32 q3, #0\n\t"                                                                    \
        "dls lr, lr\n"                                                                           \
        "1:\n\t" LOADS "vst40.8 {q0, q1, q2, q3}, [%[to]]\n\t"                                   \
        "vst41.8 {q0, q1, q2, q3}, [%[to]]\n\t"                                                  \
        "vst42.8 {q0, q1, q2, q3}, [%[to]]\n\t"                                                  \
        "vst43.8 {q0, q1, q2, q3}, [%[to]]!\n\t"                                                 \
        "le lr, 1b"                                                                              \
        : [d0] "+&r"(d0), [d1] "+&r"(d1), [d2] "+&r"(d2), [d3] "+&r"(d3), [to] "+&r"(to),        \
          "+&r"(left)                                                                            \
        : [s0] "r"(s->step[0]), [s1] "r"(s->step[1]), [s2] "r"(s->step[2]),                      \
          [s3] "r"(s->step[3]), [lanes] "r"(lanes)                                               \
        : "q0", "q1", "q2", "q3", "p0", "memory")

void vp_nn_mve_strips_next(vp_nn_mve_strips *s, int32_t channels)
{
    const int8_t *d0 = s->data[0];
    const int8_t *d1 = s->data[1];
    const int8_t *d2 = s->data[2];
    const int8_t *d3 = s->data[3];
    const mve_pred16_t lanes = vctp8q((uint32_t)channels);
    int8_t *to = s->columns;
    register int32_t left __asm__("lr") = s->inside;
    if (s->rows < ROWS) {
        TURN(LOAD_3);
    } else {
        TURN(LOAD_3 LOAD_1);
    }
    for (int32_t i = 0; i < ROWS; i++) {
        s->data[i] += s->step[i] != 0 ? LANES : 0;
    }
}

uint8x16_t vp_nn_mve_strips_weights(const vp_nn_window *w, int32_t kx, int32_t ky)
{
    uint8_t places[ROWS * 4];
    for (int32_t i = 0; i < ROWS * 4; i++) {
        const int32_t x = kx + i / ROWS;
        const int32_t y = ky + i % ROWS;
        const int inside = x < w->kernel_width && y < w->kernel_height;
        places[i] = (uint8_t)(inside ? x * w->kernel_height + y
                                     : w->kernel_width * w->kernel_height);
    }
    return vldrbq_u8(places);
}
