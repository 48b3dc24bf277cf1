# PESC_CHECK_ONEDNN: oneDNN 2.6+ or 3.x, by header and a link test (Debian ships no .pc file).
# Refuses a header and a library of different majors.
AC_DEFUN([PESC_CHECK_ONEDNN],[
  AC_ARG_WITH([onednn],[AS_HELP_STRING([--with-onednn=DIR],[prefix of oneDNN @<:@system@:>@])],
    [AS_IF([test "x$withval" != xyes && test "x$withval" != xno],
      [ONEDNN_CFLAGS="-I$withval/include"; ONEDNN_LIBS="-L$withval/lib"])])
  ONEDNN_LIBS="$ONEDNN_LIBS -ldnnl"
  pesc_save_CPPFLAGS=$CPPFLAGS; pesc_save_LIBS=$LIBS; pesc_save_CFLAGS=$CFLAGS
  CPPFLAGS="$CPPFLAGS $ONEDNN_CFLAGS"; LIBS="$ONEDNN_LIBS $LIBS"; CFLAGS="$CFLAGS $OPENMP_CFLAGS"
  AC_CHECK_HEADER([oneapi/dnnl/dnnl.h],[],
    [AC_MSG_ERROR([oneDNN headers not found: install libdnnl-dev (Debian, Ubuntu)])])
  AC_CHECK_DECL([dnnl_sgemm],[],[AC_MSG_ERROR([oneDNN without dnnl_sgemm])],
    [[#include <oneapi/dnnl/dnnl.h>]])
  AC_COMPUTE_INT([pesc_onednn_major],[DNNL_VERSION_MAJOR],[[#include <oneapi/dnnl/dnnl_version.h>]])
  AC_COMPUTE_INT([pesc_onednn_minor],[DNNL_VERSION_MINOR],[[#include <oneapi/dnnl/dnnl_version.h>]])
  AS_IF([test "$pesc_onednn_major" -lt 2 || { test "$pesc_onednn_major" -eq 2 && test "$pesc_onednn_minor" -lt 6; } || test "$pesc_onednn_major" -gt 3],
    [AC_MSG_ERROR([oneDNN 2.6 or later, or 3.x, is needed; found $pesc_onednn_major.$pesc_onednn_minor])])
  AC_MSG_CHECKING([whether oneDNN links])
  AS_IF([test "$pesc_onednn_major" -ge 3],[pesc_onednn_symbol=dnnl_matmul_primitive_desc_create],
    [pesc_onednn_symbol=dnnl_matmul_desc_init])
  AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <oneapi/dnnl/dnnl.h>]],
    [[return (void *)$pesc_onednn_symbol == (void *)dnnl_version;]])],
    [AC_MSG_RESULT([yes])],
    [AC_MSG_RESULT([no])
     AC_MSG_ERROR([no oneDNN library of the header's major version $pesc_onednn_major])])
  CPPFLAGS=$pesc_save_CPPFLAGS; LIBS=$pesc_save_LIBS; CFLAGS=$pesc_save_CFLAGS
  pesc_onednn_version="$pesc_onednn_major.$pesc_onednn_minor"
  AC_SUBST([ONEDNN_CFLAGS])
  AC_SUBST([ONEDNN_LIBS])
])
