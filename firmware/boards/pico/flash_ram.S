/* void write(const flash_job *job): what flash.c runs from a copy in RAM, because the flash cannot be
 * read meanwhile. Stands at any address. */
    .syntax unified
    .cpu cortex-m0plus
    .thumb

    .section .text.vp_rp2040_flash_write, "ax", %progbits
    .balign 4
    .global vp_rp2040_flash_write
    .global vp_rp2040_flash_write_end
vp_rp2040_flash_write:
    push {r4, r5, lr}
    movs r4, r0
    ldr r5, [r4, #0]                        /* connect */
    blx r5
    ldr r5, [r4, #4]                        /* leave_read_mode */
    blx r5
    ldr r5, [r4, #8]                        /* act */
    movs r0, #12
    adds r0, r4                             /* arguments */
    ldm r0, {r0, r1, r2, r3}
    blx r5
    ldr r5, [r4, #28]                       /* flush_cache */
    blx r5
    ldr r5, [r4, #32]                       /* enter_read_mode */
    blx r5
    pop {r4, r5, pc}
    .balign 4
vp_rp2040_flash_write_end:
