#include "turn.h"

#include <arm_mve.h>

#define VECTOR 16 /* int8 lanes */

/* Pixels of at most 16 channels are copied several at a time. */
typedef struct copier {
    int32_t channels;
    int32_t step;     /* Bytes from one column to the next. */
    int32_t together; /* Pixels in a vector; 0: copy them one by one. */
    uint8x16_t places;
} copier;

static copier make_copier(int32_t channels, int32_t step)
{
    copier c = {.channels = channels, .step = step};
    if (channels <= VECTOR && (VECTOR / channels - 1) * step + channels <= 256) {
        uint8_t places[VECTOR];
        int32_t place = 0;
        int32_t channel = 0;
        for (int32_t i = 0; i < VECTOR; i++) {
            places[i] = (uint8_t)(place + channel);
            channel++;
            if (channel == channels) {
                channel = 0;
                place += step;
            }
        }
        c.together = VECTOR / channels;
        c.places = vldrbq_u8(places);
    }
    return c;
}

static void copy_together(const copier *c, const int8_t *from, int32_t count, int8_t *to)
{
    const int32_t size = c->together * c->channels;
    int8x16_t x;
    __asm__ volatile("vmsr p0, %[lanes]\n\t"
                     "wls lr, %[vectors], 2f\n"
                     "1:\n\t"
                     "vpstt\n\t"
                     "vldrbt.8 %q[x], [%[from]]\n\t"
                     "vstrbt.8 %q[x], [%[to], %q[places]]\n\t"
                     "add %[from], %[from], %[size]\n\t"
                     "add %[to], %[to], %[stride]\n\t"
                     "le lr, 1b\n"
                     "2:"
                     : [x] "=&w"(x), [from] "+&r"(from), [to] "+&r"(to)
                     : [places] "w"(c->places), [size] "r"(size),
                       [stride] "r"(c->together * c->step), [vectors] "r"(count / c->together),
                       [lanes] "r"(vctp8q((uint32_t)size))
                     : "lr", "p0", "memory");
    const mve_pred16_t rest = vctp8q((uint32_t)(count % c->together * c->channels));
    vstrbq_scatter_offset_p_s8(to, c->places, vldrbq_z_s8(from, rest), rest);
}

static void copy_pixel(const int8_t *from, int32_t channels, int8_t *to)
{
    __asm__ volatile("wlstp.8 lr, %[channels], 2f\n"
                     "1:\n\t"
                     "vldrb.8 q0, [%[from]], #16\n\t"
                     "vstrb.8 q0, [%[to]], #16\n\t"
                     "letp lr, 1b\n"
                     "2:"
                     : [from] "+&r"(from), [to] "+&r"(to)
                     : [channels] "r"(channels)
                     : "q0", "lr", "memory");
}

static void copy(const copier *c, const int8_t *from, int32_t count, int8_t *to)
{
    if (c->together != 0) {
        copy_together(c, from, count, to);
        return;
    }
    for (int32_t i = 0; i < count; i++) {
        copy_pixel(from, c->channels, to);
        from += c->channels;
        to += c->step;
    }
}

static void fill(const copier *c, int32_t value, int32_t count, int8_t *to)
{
    const int8x16_t values = vdupq_n_s8((int8_t)value);
    for (int32_t i = 0; i < count; i++) {
        int8_t *at = to;
        __asm__ volatile("wlstp.8 lr, %[channels], 2f\n"
                         "1:\n\t"
                         "vstrb.8 %q[values], [%[at]], #16\n\t"
                         "letp lr, 1b\n"
                         "2:"
                         : [at] "+&r"(at)
                         : [values] "w"(values), [channels] "r"(c->channels)
                         : "lr", "memory");
        to += c->step;
    }
}

/* `to` is where the first column's pixel of this row goes. */
static void turn_row(const vp_nn_mve_conv_2d *p, const copier *c, const vp_nn_rows *input,
                     int32_t row, int8_t *to)
{
    const vp_nn_window *w = &p->window;
    if (row < 0 || row >= w->input_height) {
        fill(c, p->input_zero_point, p->columns, to);
        return;
    }
    const int32_t left = w->pad_left < p->columns ? w->pad_left : p->columns;
    const int32_t room = p->columns - left;
    const int32_t inside = room < w->input_width ? room : w->input_width;
    fill(c, p->input_zero_point, left, to);
    to += left * c->step;
    copy(c, vp_nn_row(input, row), inside, to);
    fill(c, p->input_zero_point, room - inside, to + inside * c->step);
}

void vp_nn_mve_turn(const vp_nn_mve_conv_2d *p, int32_t row, const vp_nn_rows *input,
                    int8_t *turned)
{
    const vp_nn_window *w = &p->window;
    const copier c = make_copier(w->input_channels, w->kernel_height * w->input_channels);
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        const int32_t y = row * w->stride_height - w->pad_top + ky * w->dilation_height;
        turn_row(p, &c, input, y, turned + ky * w->input_channels);
    }
}
