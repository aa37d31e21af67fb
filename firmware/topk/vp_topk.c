#include "vp/topk.h"

#define SCORES 256u

/* Puts class `index` among the `place` entries before it, or after them; moves the worse ones back. */
static void insert(vp_topk_entry *entries, uint32_t place, uint32_t index, int8_t score)
{
    while (place > 0u && entries[place - 1u].score < score) {
        entries[place] = entries[place - 1u];
        place--;
    }
    entries[place].index = (uint16_t)index;
    entries[place].score = score;
}

static void select_few(const int8_t *scores, uint32_t count, uint32_t k, vp_topk_entry *entries)
{
    for (uint32_t i = 0; i < k; i++) {
        insert(entries, i, i, scores[i]);
    }
    int8_t worst = entries[k - 1u].score;
    for (uint32_t i = k; i < count; i++) {
        /* An equal score comes too late: its index is higher. */
        if (scores[i] > worst) {
            insert(entries, k - 1u, i, scores[i]);
            worst = entries[k - 1u].score;
        }
    }
}

/* Counts how many classes have each score; then every class knows its place. */
static void select_many(const int8_t *scores, uint32_t count, uint32_t k, vp_topk_entry *entries)
{
    uint32_t places[SCORES] = {0};
    uint32_t better = 0;
    for (uint32_t i = 0; i < count; i++) {
        places[scores[i] - INT8_MIN]++;
    }
    for (uint32_t score = SCORES; score-- > 0u;) {
        const uint32_t equal = places[score];
        places[score] = better;
        better += equal;
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t place = places[scores[i] - INT8_MIN]++;
        if (place < k) {
            entries[place].index = (uint16_t)i;
            entries[place].score = scores[i];
        }
    }
}

uint32_t vp_topk_select(const int8_t *scores, uint32_t count, uint32_t k, vp_topk_entry *entries)
{
    if (k == 0u || count == 0u || count > VP_TOPK_MAX_CLASSES) {
        return 0;
    }
    k = k < count ? k : count;
    if (k <= VP_TOPK_FEW) {
        select_few(scores, count, k, entries);
    } else {
        select_many(scores, count, k, entries);
    }
    return k;
}
