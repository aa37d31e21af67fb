/**
 * @file vp/topk.h
 * The compressor: the k best of a model's int8 scores.
 */
#ifndef VP_TOPK_H
#define VP_TOPK_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Most classes that an entry's index can name. */
#define VP_TOPK_MAX_CLASSES 65536u

/** Up to this many survivors are found in one pass, with next to no stack. */
#define VP_TOPK_FEW 16u

/** One survivor. */
typedef struct vp_topk_entry {
    uint16_t index; /**< Class, 0 .. class count - 1. */
    int8_t score;   /**< As the model produced it. */
} vp_topk_entry;

/**
 * Selects the k best of `count` scores, best first; of equal scores the lower index comes first, as in
 * tf.math.top_k. Beyond VP_TOPK_FEW of them it looks at each score twice and takes 1 KB of stack; the
 * time then does not depend on k.
 *
 * @param scores  `count` scores.
 * @param count   Number of classes, at most VP_TOPK_MAX_CLASSES.
 * @param k       Entries wanted.
 * @param entries Room for min(k, count) entries.
 * @return Number of entries written, min(k, count); 0 if there are too many classes.
 */
uint32_t vp_topk_select(const int8_t *scores, uint32_t count, uint32_t k, vp_topk_entry *entries);

#ifdef __cplusplus
}
#endif

#endif
