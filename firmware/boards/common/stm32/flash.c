/* The two sectors of the boot journal (RM0090 section 3.6, RM0385 section 3.3): erased and programmed 32
 * bits at a time, which takes a supply of 2.7 .. 3.6 V. The processor runs from the same bank: its next
 * fetch waits until the flash is done, interrupts included. */
#include "flash.h"

#include <string.h>

#include "stm32.h"

#define FLASH_ACR VP_REGISTER(0x40023C00u)
#define FLASH_KEYR VP_REGISTER(0x40023C04u)
#define FLASH_SR VP_REGISTER(0x40023C0Cu)
#define FLASH_CR VP_REGISTER(0x40023C10u)
#define KEY_1 0x45670123u
#define KEY_2 0xCDEF89ABu
#define SR_BUSY (1u << 16)
#define SR_FLAGS 0xF3u /* Write 1 to clear: end of operation, errors. */
#define SR_ERRORS 0xF2u
#define CR_PROGRAM (1u << 0)
#define CR_ERASE (1u << 1)
#define CR_SECTOR(number) ((number) << 3)
#define CR_WORDS (2u << 8)
#define CR_START (1u << 16)
#define CR_LOCK (1u << 31)
#define ACR_DATA_CACHE (1u << 10)
#define ACR_DATA_CACHE_RESET (1u << 12)

#define FLASH_ORIGIN 0x08000000u
#define BLANK 0xFFFFFFFFu

/* The first four sectors are of one size, which is the page size of the journal. */
_Static_assert(VP_BOARD_JOURNAL_ADDRESS % VP_BOARD_JOURNAL_PAGE_SIZE == 0u &&
                   VP_BOARD_JOURNAL_ADDRESS + 2u * VP_BOARD_JOURNAL_PAGE_SIZE <=
                       FLASH_ORIGIN + 4u * VP_BOARD_JOURNAL_PAGE_SIZE,
               "the boot journal is not two of the first four sectors");

static void unlock(void)
{
    if ((FLASH_CR & CR_LOCK) != 0u) {
        FLASH_KEYR = KEY_1;
        FLASH_KEYR = KEY_2;
    }
    FLASH_SR = SR_FLAGS;
}

/* No time-out: the flash ends every operation by itself, and the watchdog stands behind it. */
static int finish(void)
{
    VP_CORE_BARRIER();
    while ((FLASH_SR & SR_BUSY) != 0u) {
    }
    return (FLASH_SR & SR_ERRORS) != 0u ? -1 : 0;
}

/* Locks again, and lets reads see the new contents. On the F7, vp_board_init keeps them out of the
 * processor's cache. */
static void lock(void)
{
    FLASH_CR = CR_LOCK;
#if !VP_STM32_F7
    const uint32_t acr = FLASH_ACR;
    FLASH_ACR = acr & ~ACR_DATA_CACHE;
    FLASH_ACR = (acr & ~ACR_DATA_CACHE) | ACR_DATA_CACHE_RESET;
    FLASH_ACR = acr;
#endif
}

static int is_blank(uint32_t address)
{
    for (uint32_t offset = 0; offset < VP_BOARD_JOURNAL_PAGE_SIZE; offset += 4u) {
        if (VP_REGISTER(address + offset) != BLANK) {
            return 0;
        }
    }
    return 1;
}

/* What was written is read back: QEMU takes every command and carries out none. */
int vp_flash_erase(uint32_t address)
{
    const uint32_t sector = (address - FLASH_ORIGIN) / VP_BOARD_JOURNAL_PAGE_SIZE;
    unlock();
    FLASH_CR = CR_ERASE | CR_SECTOR(sector) | CR_WORDS;
    FLASH_CR |= CR_START;
    const int err = finish();
    lock();
    return err || !is_blank(address) ? -1 : 0;
}

int vp_flash_program(uint32_t address, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    int err = 0;
    unlock();
    FLASH_CR = CR_PROGRAM | CR_WORDS;
    for (uint32_t offset = 0; !err && offset < size; offset += 4u) {
        uint32_t word;
        memcpy(&word, bytes + offset, sizeof(word));
        VP_REGISTER(address + offset) = word;
        err = finish();
    }
    lock();
    return err || memcmp((const void *)(uintptr_t)address, data, size) != 0 ? -1 : 0;
}
