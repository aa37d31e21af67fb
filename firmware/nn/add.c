#include "add.h"

void vp_nn_add_row(const vp_nn_add *p, int32_t row, const vp_nn_rows *a, const vp_nn_rows *b,
                   int8_t *output)
{
    const int8_t *row_a = vp_nn_row(a, row);
    const int8_t *row_b = vp_nn_row(b, row);
    for (int32_t i = 0; i < p->row_size; i++) {
        output[i] = vp_nn_add_element(p, row_a[i], row_b[i]);
    }
}
