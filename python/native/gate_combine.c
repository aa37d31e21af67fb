#include "vp_gate.h"

/* TFLite fixes a softmax output's scale to 1/256 and its zero point to -128. */
static double probability(int8_t score)
{
    return ((double)score + 128.0) / 256.0;
}

void vp_combine(const uint16_t *class_indices, const int8_t *scores, const double *weights,
                uint32_t count, uint32_t k, uint32_t classes, double *shares)
{
    double total = 0.0;
    for (uint32_t i = 0; i < classes; i++) {
        shares[i] = 0.0;
    }
    for (uint32_t row = 0; row < count; row++) {
        for (uint32_t i = 0; i < k; i++) {
            const size_t at = (size_t)row * k + i;
            if (class_indices[at] < classes) {
                const double part = weights[row] * probability(scores[at]);
                shares[class_indices[at]] += part;
            }
        }
        total += weights[row];
    }
    for (uint32_t i = 0; i < classes; i++) {
        shares[i] /= total;
    }
}
