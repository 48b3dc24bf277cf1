/* Hot loops compiled once per instruction set, chosen when the program is loaded. Put the attribute
 * on the function that holds the loop: what an OpenMP parallel region contains is not cloned. */
#ifndef PESC_CORE_HOT_H
#define PESC_CORE_HOT_H

#ifdef PESC_CLONES
#define HOT __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define HOT
#endif

#endif
