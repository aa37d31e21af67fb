/**
 * @file journal.h
 * A number that only rises, kept in two erasable pages of flash over any loss of power.
 *
 * Records of 8 bytes are appended, each with its CRC-32C; the highest valid one counts. A full page is
 * followed by the other one, which is erased only then: the page that holds the highest number never
 * is. So a write or an erase that is cut short leaves the old number or the new one.
 *
 * A slot whose write was cut short may look blank and yet not hold what is written to it again; so the
 * first number of each run leaves one slot out. Of pages of n bytes each erase lasts for n / 16 runs.
 */
#ifndef VP_JOURNAL_H
#define VP_JOURNAL_H

#include <stdint.h>

#define VP_JOURNAL_RECORD_SIZE 8u
#define VP_JOURNAL_MAX 0xFFFFFFu /**< Highest number. */

typedef struct vp_journal {
    const uint8_t *pages; /**< Where both pages can be read, one behind the other. */
    uint32_t address;     /**< Of the first page, as vp_flash_erase and vp_flash_program take it. */
    uint32_t page_size;   /**< Bytes, a multiple of VP_JOURNAL_RECORD_SIZE. */
    int written;          /**< A number was stored in this run; starts as 0. */
} vp_journal;

/** @return the highest number stored; 0: none. */
uint32_t vp_journal_read(const vp_journal *journal);

/** Stores a number (1 .. VP_JOURNAL_MAX), with at most one erase. One below the highest stored is kept
 *  as it is, and so is that one once this run has stored a number. @return 1, or 0 if the flash fails or the number is out of range. */
int vp_journal_store(vp_journal *journal, uint32_t number);

#endif
