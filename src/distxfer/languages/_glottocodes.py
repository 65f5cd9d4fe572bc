"""Glottocodes of the languages of FLORES+ and a few more, with their ISO 639-3 codes.

Source: Glottolog 5.1 (Hammarström, Forkel, Haspelmath and Bank 2024, https://glottolog.org), CC BY 4.0, columns
`Glottocode` and `ISO639P3code` (`Closest_ISO369P3code` for dialects) of its `languages.csv`.
"""

_PAIRS = """
achi1257:ace  meso1252:acm  taiz1242:acq  tuni1259:aeb  afri1274:afr  akan1250:aka  tosk1239:als  amha1245:amh
nort3139:apc  suda1236:apd  stan1318:arb  arag1245:arg  najd1235:ars  moro1292:ary  egyp1253:arz  assa1263:asm
astu1245:ast  awad1243:awa  cent2142:ayr  sout2697:azb  nort2697:azj  bash1264:bak  bamb1269:bam  bali1278:ban
bela1254:bel  bemb1257:bem  beng1280:ben  bhoj1244:bho  banj1239:bjn  tibe1272:bod  utsa1239:bod  bosn1245:bos
bodo1269:brx  bugi1244:bug  bulg1262:bul  stan1289:cat  vale1252:cat  cebu1242:ceb  czec1258:ces  cher1273:chr
chuv1255:chv  chok1245:cjk  cent1972:ckb  beij1234:cmn  mand1415:cmn  taib1240:cmn  crim1257:crh  wels1247:cym
dani1285:dan  darg1241:dar  stan1295:deu  dogr1250:dgo  sout2832:dik  dyul1238:dyu  dzon1239:dzo  esto1258:ekk
mode1248:ell  stan1293:eng  espe1235:epo  basq1248:eus  ewee1241:ewe  faro1244:fao  fiji1243:fij  fili1244:fil
finn1318:fin  fonn1241:fon  stan1290:fra  friu1240:fur  nige1253:fuv  west2721:gaz  scot1245:gla  iris1253:gle
gali1258:glg  goan1235:gom  para1311:gug  guja1252:guj  hakk1236:hak  hait1244:hat  haus1257:hau  hebr1245:heb
hind1269:hin  chha1249:hne  croa1245:hrv  hung1274:hun  nucl1235:hye  nucl1417:ibo  ilok1237:ilo  indo1316:ind
icel1247:isl  ital1282:ita  java1254:jav  nucl1643:jpn  kara1467:kaa  kaby1243:kab  kach1280:kac  kamb1297:kam
nucl1305:kan  kash1277:kas  nucl1302:kat  kaza1248:kaz  kabi1261:kbp  kabu1256:kea  halh1238:khk  cent1989:khm
kiku1240:kik  kiny1244:kin  kirg1245:kir  khak1248:kjh  kimb1241:kmb  nort2641:kmr  cent2050:knc  kore1280:kor
kitu1246:ktu  laoo1244:lao  lati1261:lat  ligu1248:lij  limb1263:lim  ling1263:lin  lith1251:lit  ladi1250:lld
lomb1257:lmo  east2282:ltg  luxe1241:ltz  luba1249:lua  gand1255:lug  luok1236:luo  lush1249:lus  stan1325:lvs
lite1248:lzh  maga1260:mag  mait1250:mai  mala1464:mal  mara1378:mar  mori1278:mfe  east2328:mhr  mina1268:min
mace1250:mkd  malt1254:mlt  mani1292:mni  moss1236:mos  maor1246:mri  nucl1310:mya  erzy1239:myv  minn1241:nan
nava1243:nav  dutc1256:nld  norw1262:nno  norw1259:nob  nepa1254:npi  nkoa1234:nqo  pedi1238:nso  nuer1246:nus
nyan1308:nya  occi1239:oci  oriy1255:ory  pang1290:pag  panj1256:pan  papi1253:pap  sout2649:pbt  west2369:pes
plat1254:plt  poli1260:pol  braz1246:por  port1283:por  dari1249:prs  ayac1239:quy  roma1327:ron  rund1242:run
russ1263:rus  sang1328:sag  sans1269:san  sant1410:sat  sici1248:scn  shan1277:shn  sinh1246:sin  slov1269:slk
slov1268:slv  nort2671:sme  samo1305:smo  shon1251:sna  sind1272:snd  soma1255:som  sout2807:sot  amer1254:spa
stan1288:spa  serb1264:srp  swat1243:ssw  sund1252:sun  swed1254:swe  swah1253:swh  sile1253:szl  tami1289:tam
tama1365:taq  tata1255:tat  telu1262:tel  taji1245:tgk  taga1270:tgl  thai1261:tha  tigr1271:tir  tokp1240:tpi
tswa1253:tsn  tson1249:tso  turk1304:tuk  tumb1250:tum  nucl1301:tur  twii1234:twi  tuvi1240:tyv  cent2194:tzm
udmu1245:udm  uigh1240:uig  ukra1253:ukr  umbu1257:umb  urdu1245:urd  nort2690:uzn  sout2699:uzs  vene1258:vec
viet1252:vie  makh1264:vmw  wara1300:war  nucl1347:wol  wuch1236:wuu  xhos1239:xho  east2295:ydd  yesk1239:yes
yoru1245:yor  xian1255:yue  yuec1235:yue  stan1324:zgh  stan1306:zsm  zulu1248:zul
"""

GLOTTOCODES: dict[str, str] = dict(pair.split(":") for pair in _PAIRS.split())
"""Glottocode to ISO 639-3 code."""
