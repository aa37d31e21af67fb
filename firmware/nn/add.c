#include "add.h"

void vp_nn_add_run(const vp_nn_add *p, const int8_t *a, const int8_t *b, int8_t *output)
{
    for (int32_t i = 0; i < p->size; i++) {
        output[i] = vp_nn_add_element(p, a[i], b[i]);
    }
}
