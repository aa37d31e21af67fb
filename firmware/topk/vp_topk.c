#include "vp/topk.h"

uint32_t vp_topk_select(const int8_t *scores, uint32_t count, uint32_t k, vp_topk_entry *entries)
{
    if (k == 0u || count > VP_TOPK_MAX_CLASSES) {
        return 0;
    }
    uint32_t used = 0;
    for (uint32_t i = 0; i < count; i++) {
        const int8_t score = scores[i];
        if (used == k) {
            /* An equal score comes too late: its index is higher. */
            if (score <= entries[k - 1u].score) {
                continue;
            }
        } else {
            used++;
        }
        uint32_t place = used - 1u;
        while (place > 0u && entries[place - 1u].score < score) {
            entries[place] = entries[place - 1u];
            place--;
        }
        entries[place].index = (uint16_t)i;
        entries[place].score = score;
    }
    return used;
}
