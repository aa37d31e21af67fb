#include "journal.h"

#include <string.h>

#include "flash.h"
#include "vp/wire.h"

#define PAGES 2u
#define BLANK 0xFFFFFFFFu
#define MOST_TRIES 4u /* Slots of a page that may fail before a number is given up. */

typedef struct record {
    uint32_t number;
    uint32_t check;
} record;

_Static_assert(sizeof(record) == VP_JOURNAL_RECORD_SIZE, "records are written as they are");

static uint32_t slots(const vp_journal *journal)
{
    return journal->page_size / VP_JOURNAL_RECORD_SIZE;
}

static uint32_t offset_of(const vp_journal *journal, uint32_t page, uint32_t slot)
{
    return page * journal->page_size + slot * VP_JOURNAL_RECORD_SIZE;
}

static record read_slot(const vp_journal *journal, uint32_t page, uint32_t slot)
{
    record out;
    memcpy(&out, journal->pages + offset_of(journal, page, slot), sizeof(out));
    return out;
}

static uint32_t check_of(uint32_t number)
{
    return vp_crc32c(0, (const uint8_t *)&number, sizeof(number));
}

static uint32_t highest_in(const vp_journal *journal, uint32_t page)
{
    uint32_t highest = 0;
    for (uint32_t slot = 0; slot < slots(journal); slot++) {
        const record found = read_slot(journal, page, slot);
        if (found.number > highest && found.number <= VP_JOURNAL_MAX &&
            found.check == check_of(found.number)) {
            highest = found.number;
        }
    }
    return highest;
}

/* What was cut short may look blank in the middle, so nothing before the last written slot counts. */
static uint32_t first_free(const vp_journal *journal, uint32_t page)
{
    uint32_t slot = slots(journal);
    while (slot > 0u) {
        const record found = read_slot(journal, page, slot - 1u);
        if (found.number != BLANK || found.check != BLANK) {
            break;
        }
        slot--;
    }
    return slot;
}

/* A slot that does not hold what was written is left behind. */
static int append(const vp_journal *journal, uint32_t page, uint32_t slot, uint32_t number)
{
    const record wanted = {number, check_of(number)};
    for (uint32_t tries = 0; tries < MOST_TRIES && slot < slots(journal); tries++, slot++) {
        const uint32_t address = journal->address + offset_of(journal, page, slot);
        if (vp_flash_program(address, &wanted, sizeof(wanted)) == 0) {
            const record got = read_slot(journal, page, slot);
            if (got.number == wanted.number && got.check == wanted.check) {
                return 1;
            }
        }
    }
    return 0;
}

uint32_t vp_journal_read(const vp_journal *journal)
{
    const uint32_t first = highest_in(journal, 0);
    const uint32_t second = highest_in(journal, 1);
    return first > second ? first : second;
}

int vp_journal_store(vp_journal *journal, uint32_t number)
{
    const uint32_t first = highest_in(journal, 0);
    const uint32_t second = highest_in(journal, 1);
    const uint32_t page = first > second ? 0u : 1u;
    const uint32_t stored = page == 0u ? first : second;
    if (number == 0u || number > VP_JOURNAL_MAX) {
        return 0;
    }
    /* The highest one may be what an earlier run could not finish, and gone when it is read again. */
    if (number < stored || (number == stored && journal->written)) {
        return 1;
    }
    /* Without a number in it, a page may be anything: never erased, or not to the end. */
    if (stored != 0u) {
        const uint32_t slot = first_free(journal, page) + (journal->written ? 0u : 1u);
        journal->written = append(journal, page, slot, number);
    }
    if (stored == 0u || !journal->written) {
        const uint32_t other = (page + 1u) % PAGES;
        journal->written = vp_flash_erase(journal->address + offset_of(journal, other, 0)) == 0 &&
                           append(journal, other, 0, number);
    }
    return journal->written;
}
