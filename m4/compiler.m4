# PESC_CHECK_COMPILER: warnings, sanitizers, native code and per-ISA function clones.
AC_DEFUN([PESC_CHECK_COMPILER],[
  pesc_compiler_version=$($CC --version 2>/dev/null | sed 1q)
  PESC_CFLAGS="-std=gnu11 -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wno-unknown-pragmas -fno-math-errno -ffp-contract=fast"
  AC_ARG_ENABLE([werror],[AS_HELP_STRING([--enable-werror],[treat warnings as errors])],[],[enable_werror=no])
  AS_IF([test "x$enable_werror" = xyes],[PESC_CFLAGS="$PESC_CFLAGS -Werror"])
  AC_ARG_ENABLE([sanitizers],[AS_HELP_STRING([--enable-sanitizers@<:@=LIST@:>@],
    [build with sanitizers @<:@address,undefined@:>@])],[],[enable_sanitizers=no])
  AS_IF([test "x$enable_sanitizers" = xyes],[enable_sanitizers=address,undefined])
  AS_IF([test "x$enable_sanitizers" != xno],
    [PESC_CFLAGS="$PESC_CFLAGS -fsanitize=$enable_sanitizers -fno-sanitize-recover=all -fno-omit-frame-pointer"],
    [PESC_CFLAGS="$PESC_CFLAGS -fstack-protector-strong"])
  AC_ARG_ENABLE([native],[AS_HELP_STRING([--enable-native],[code for this machine only])],[],[enable_native=no])
  AS_IF([test "x$enable_native" = xyes],[PESC_CFLAGS="$PESC_CFLAGS -march=native"])
  AC_ARG_ENABLE([failpoints],[AS_HELP_STRING([--enable-failpoints],[compile fault injection points for tests])],
    [],[enable_failpoints=no])
  AS_IF([test "x$enable_failpoints" = xyes],[AC_DEFINE([PESC_FAILPOINTS],[1],[fault injection points])])
  # Clones are resolved before a sanitizer's runtime is up, so only plain builds have them.
  pesc_clones=no
  AS_IF([test "x$enable_sanitizers" = xno && test "x$enable_native" != xyes],[
    AC_MSG_CHECKING([for per-ISA function clones])
    AC_LINK_IFELSE([AC_LANG_PROGRAM([[
      #if defined __clang__ && __clang_major__ < 16
      #error its clones cannot be called from another file
      #endif
      __attribute__((target_clones("arch=x86-64-v4","arch=x86-64-v3","default")))
      float twice(float x) { return 2 * x; }]],[[return (int)twice(0);]])],
      [pesc_clones=yes; AC_DEFINE([PESC_CLONES],[1],[functions can be cloned per ISA])])
    AC_MSG_RESULT([$pesc_clones])])
  AC_MSG_CHECKING([for AVX512-BF16 intrinsics])
  pesc_avx512_bf16=no
  AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[
    #include <immintrin.h>
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
    static __m512 dot(__m512 s, __m512i a, __m512i b) { return _mm512_dpbf16_ps(s, (__m512bh)a, (__m512bh)b); }
    ]],[[return __builtin_cpu_supports("avx512bf16") && sizeof dot(_mm512_setzero_ps(), _mm512_setzero_si512(), _mm512_setzero_si512()) == 1;]])],
    [pesc_avx512_bf16=yes; AC_DEFINE([PESC_HAVE_AVX512_BF16],[1],[the compiler has AVX512-BF16])])
  AC_MSG_RESULT([$pesc_avx512_bf16])
  AC_SUBST([PESC_CFLAGS])
])
