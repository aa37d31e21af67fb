#include "add.h"

void vp_nn_add_broadcast_run(const vp_nn_add_broadcast *p, const int8_t *a, const int8_t *b,
                             int8_t *output)
{
    for (int32_t i0 = 0; i0 < p->dims[0]; i0++) {
        for (int32_t i1 = 0; i1 < p->dims[1]; i1++) {
            for (int32_t i2 = 0; i2 < p->dims[2]; i2++) {
                const int8_t *row_a =
                    a + i0 * p->a_strides[0] + i1 * p->a_strides[1] + i2 * p->a_strides[2];
                const int8_t *row_b =
                    b + i0 * p->b_strides[0] + i1 * p->b_strides[1] + i2 * p->b_strides[2];
                for (int32_t i3 = 0; i3 < p->dims[3]; i3++) {
                    *output++ = vp_nn_add_element(&p->add, row_a[i3 * p->a_strides[3]],
                                                  row_b[i3 * p->b_strides[3]]);
                }
            }
        }
    }
}
