/* The boot counter of boards that have a journal. */
#include "journal.h"
#include "vp/board.h"

_Static_assert(VP_BOARD_JOURNAL_ADDRESS % VP_JOURNAL_RECORD_SIZE == 0u &&
                   VP_BOARD_JOURNAL_PAGE_SIZE % VP_JOURNAL_RECORD_SIZE == 0u,
               "journal_address and journal_page_size are no multiples of a record");

static vp_journal journal = {
    .pages = (const uint8_t *)VP_BOARD_JOURNAL_ADDRESS,
    .address = VP_BOARD_JOURNAL_ADDRESS,
    .page_size = VP_BOARD_JOURNAL_PAGE_SIZE,
};

uint32_t vp_board_stored_boot(void)
{
    return vp_journal_read(&journal);
}

int vp_board_store_boot(uint32_t boot)
{
    return vp_journal_store(&journal, boot);
}
